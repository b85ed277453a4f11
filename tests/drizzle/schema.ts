// packages/database/schema.ts
import {
  pgTable,
  serial,
  smallserial,
  varchar,
  text,
  boolean,
  timestamp,
  smallint,
  numeric,
  inet,
  unique,
  primaryKey,
} from "drizzle-orm/pg-core";

export const countries = pgTable("countries", {
  id: smallserial("id").primaryKey(),
  isoCode: varchar("iso_code", { length: 2 }).notNull().unique(),
  name: varchar("name", { length: 100 }).notNull(),
});

export const cities = pgTable(
  "cities",
  {
    id: serial("id").primaryKey(),
    countryId: smallint("country_id")
      .notNull()
      .references(() => countries.id),
    name: varchar("name", { length: 100 }).notNull(),
    latitude: numeric("latitude", { precision: 9, scale: 6 }),
    longitude: numeric("longitude", { precision: 9, scale: 6 }),
  },
  (table) => ({
    uniqueCountryCity: unique().on(table.countryId, table.name),
  }),
);

export const providers = pgTable("providers", {
  id: smallserial("id").primaryKey(),
  name: varchar("name", { length: 50 }).notNull(),
  slug: varchar("slug", { length: 50 }).notNull().unique(),
  websiteUrl: text("website_url"),
  affiliateLink: text("affiliate_link"),
  logoUrl: text("logo_url"),
  isActive: boolean("is_active").default(true),
  createdAt: timestamp("created_at", { withTimezone: true }).defaultNow(),
  updatedAt: timestamp("updated_at", { withTimezone: true }).defaultNow(),
});

export const servers = pgTable(
  "servers",
  {
    id: serial("id").primaryKey(),
    providerId: smallint("provider_id")
      .notNull()
      .references(() => providers.id),
    cityId: serial("city_id")
      .notNull()
      .references(() => cities.id),
    hostname: varchar("hostname", { length: 255 }),
    ipAddress: inet("ip_address"),
    isActive: boolean("is_active").default(true),
    createdAt: timestamp("created_at", { withTimezone: true }).defaultNow(),
    updatedAt: timestamp("updated_at", { withTimezone: true }).defaultNow(),
  },
  (table) => ({
    uniqueProviderHostname: unique().on(table.providerId, table.hostname),
  }),
);

export const protocols = pgTable("protocols", {
  id: smallserial("id").primaryKey(),
  name: varchar("name", { length: 30 }).notNull().unique(),
  defaultPort: smallint("default_port"),
});

export const serverProtocols = pgTable(
  "server_protocols",
  {
    serverId: serial("server_id")
      .notNull()
      .references(() => servers.id, { onDelete: "cascade" }),
    protocolId: smallint("protocol_id")
      .notNull()
      .references(() => protocols.id),
    port: smallint("port"),
  },
  (table) => ({
    pk: primaryKey({ columns: [table.serverId, table.protocolId] }),
  }),
);

export const streamingPlatforms = pgTable("streaming_platforms", {
  id: smallserial("id").primaryKey(),
  slug: varchar("slug", { length: 30 }).notNull().unique(),
  name: varchar("name", { length: 50 }).notNull(),
  region: varchar("region", { length: 2 }),
});

export const probeLocations = pgTable("probe_locations", {
  id: smallserial("id").primaryKey(),
  code: varchar("code", { length: 10 }).notNull().unique(),
  cityId: serial("city_id").references(() => cities.id),
  provider: varchar("provider", { length: 50 }),
  isActive: boolean("is_active").default(true),
});
