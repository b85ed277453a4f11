// The first seed's time series and views as its own schema would have them: it defines the reference tables alone.
import {
  bigint,
  boolean,
  doublePrecision,
  integer,
  numeric,
  pgTable,
  pgView,
  primaryKey,
  real,
  smallint,
  timestamp,
} from "drizzle-orm/pg-core";

const at = (name: string) => timestamp(name, { withTimezone: true }).notNull();

export const performanceLogs = pgTable(
  "performance_logs",
  {
    serverId: integer("server_id").notNull(),
    probeId: smallint("probe_id").notNull(),
    measuredAt: at("measured_at"),
    pingMs: real("ping_ms"),
    downloadMbps: numeric("download_mbps", { precision: 7, scale: 2 }),
    uploadMbps: numeric("upload_mbps", { precision: 7, scale: 2 }),
    connectionSuccess: boolean("connection_success"),
  },
  (table) => [primaryKey({ columns: [table.measuredAt, table.serverId, table.probeId] })],
);

export const performanceLogsHourly = pgTable("performance_logs_hourly", {
  serverId: integer("server_id").notNull(),
  probeId: smallint("probe_id").notNull(),
  hour: at("hour"),
  sampleCount: integer("sample_count"),
  avgDownload: numeric("avg_download", { precision: 7, scale: 2 }),
});

export const latestPerformance = pgView("mv_server_latest_performance", {
  serverId: integer("server_id").notNull(),
  probeId: smallint("probe_id").notNull(),
  measuredAt: at("measured_at"),
  pingMs: real("ping_ms"),
  downloadMbps: numeric("download_mbps", { precision: 7, scale: 2 }),
}).existing();

export const dailyStats = pgView("mv_server_daily_stats", {
  serverId: integer("server_id").notNull(),
  probeId: smallint("probe_id").notNull(),
  day: at("day"),
  sampleCount: bigint("sample_count", { mode: "number" }),
  avgPing: numeric("avg_ping"),
  medianPing: doublePrecision("median_ping"),
  p95Ping: doublePrecision("p95_ping"),
  avgDownload: numeric("avg_download", { precision: 7, scale: 2 }),
  uptimePct: numeric("uptime_pct", { precision: 5, scale: 2 }),
}).existing();
