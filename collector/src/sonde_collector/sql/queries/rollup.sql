-- name: rollup_put_off
-- After a turn that took long: hours that one vantage made heavy wait, and the others do not wait for them.
SELECT sonde.put_off_heavy_hours(%(series)s);

-- name: rollup_step
-- One turn of a rollup function: the hours, days or months it made anew; 0 = nothing is dirty.
SELECT CASE %(step)s
  WHEN 'performance_hours' THEN sonde.rollup_performance_hours()
  WHEN 'endpoint_hours' THEN sonde.rollup_endpoint_hours()
  WHEN 'performance_days' THEN sonde.rollup_performance_days()
  WHEN 'endpoint_days' THEN sonde.rollup_endpoint_days()
  WHEN 'endpoint_months' THEN sonde.rollup_endpoint_months()
  WHEN 'server_days' THEN sonde.rollup_server_days()
  WHEN 'aged_latest' THEN sonde.rollup_aged_latest()
END;
