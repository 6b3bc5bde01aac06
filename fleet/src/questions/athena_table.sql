-- S3's access logs as they lie in the bucket, with date-based partitioning. Athena works out the partitions by itself.
CREATE EXTERNAL TABLE IF NOT EXISTS s3_access_logs (
    bucket_owner string,
    bucket string,
    request_time string,
    remote_ip string,
    requester string,
    request_id string,
    operation string,
    key string,
    request_uri string,
    http_status string,
    error_code string,
    bytes_sent string,
    object_size string,
    total_time string,
    turn_around_time string,
    referrer string,
    user_agent string
)
PARTITIONED BY (log_day string)
ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.RegexSerDe'
WITH SERDEPROPERTIES (
    'input.regex' = '([^ ]*) ([^ ]*) \\[([^\\]]*)\\] ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) (".*?"|-) (\\d{3}|-) ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) (".*?"|-) (".*?"|-) [^ =]+(?: .*)?'
)
STORED AS TEXTFILE
LOCATION '{folder}'
TBLPROPERTIES (
    'projection.enabled' = 'true',
    'projection.log_day.type' = 'date',
    'projection.log_day.format' = 'yyyy/MM/dd',
    'projection.log_day.range' = '2026/01/01,NOW',
    'projection.log_day.interval' = '1',
    'projection.log_day.interval.unit' = 'DAYS',
    'storage.location.template' = '{folder}${log_day}'
);
