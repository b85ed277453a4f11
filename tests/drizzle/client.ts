// A website's view of the database through Drizzle: prints what it reads as one JSON object.
import { and, asc, desc, eq, gte, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import pg from "pg";

import * as schema from "./schema.js";
import { dailyStats, latestPerformance, performanceLogs, performanceLogsHourly } from "./series.js";

const client = new pg.Client({ connectionString: process.argv[2] });
await client.connect();
const db = drizzle(client, { schema });
const { cities, countries, probeLocations, protocols, providers, serverProtocols, servers, streamingPlatforms } = schema;

const inventory = await db
  .select({ hostname: servers.hostname, provider: providers.name, city: cities.name, country: countries.isoCode })
  .from(servers)
  .innerJoin(providers, eq(servers.providerId, providers.id))
  .innerJoin(cities, eq(servers.cityId, cities.id))
  .innerJoin(countries, eq(cities.countryId, countries.id))
  .where(eq(servers.isActive, true))
  .orderBy(asc(servers.id));

const spoken = await db
  .select({ server: serverProtocols.serverId, protocol: protocols.name })
  .from(serverProtocols)
  .innerJoin(protocols, eq(serverProtocols.protocolId, protocols.id))
  .orderBy(asc(serverProtocols.serverId), asc(protocols.name));

const vantages = await db.query.probeLocations.findMany({ orderBy: asc(probeLocations.id) });
const platforms = await db.select().from(streamingPlatforms).orderBy(asc(streamingPlatforms.id));

const latest = await db
  .select({ server: servers.hostname, download: latestPerformance.downloadMbps, ping: latestPerformance.pingMs })
  .from(servers)
  .innerJoin(latestPerformance, eq(servers.id, latestPerformance.serverId))
  .where(eq(servers.isActive, true))
  .orderBy(desc(latestPerformance.downloadMbps))
  .limit(10);

const since = new Date(Date.now() - 30 * 86_400_000);
const day = sql<Date>`date_trunc('day', ${performanceLogs.measuredAt})`.mapWith(performanceLogs.measuredAt);
const trend = await db
  .select({
    day,
    download: sql<string>`avg(${performanceLogs.downloadMbps})::numeric(7,2)`,
    rows: sql<number>`count(*)::int`,
  })
  .from(performanceLogs)
  .where(and(eq(performanceLogs.serverId, 1), gte(performanceLogs.measuredAt, since)))
  .groupBy(day)
  .orderBy(day);

const daily = await db
  .select({ day: dailyStats.day, download: dailyStats.avgDownload, rows: dailyStats.sampleCount })
  .from(dailyStats)
  .where(and(eq(dailyStats.serverId, 1), gte(dailyStats.day, since)))
  .orderBy(asc(dailyStats.day));

const hourly = await db
  .select({ rows: sql<number>`sum(${performanceLogsHourly.sampleCount})::int` })
  .from(performanceLogsHourly)
  .where(eq(performanceLogsHourly.serverId, 1));

const ranking = await db.execute(sql`SELECT * FROM get_country_vpn_ranking(${"DE"}, ${20})`);

console.log(
  JSON.stringify({ inventory, spoken, vantages, platforms, latest, trend, daily, hourly, ranking: ranking.rows }),
);
await client.end();
