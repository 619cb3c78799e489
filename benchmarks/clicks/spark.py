"""Clicks in Spark 4.1 with Delta 4.1: streaming queries chained by Delta tables.

Run by ``spark-submit --packages`` of spark-sql-kafka-0-10, spark-avro and delta-spark, with
Delta's two ``--conf``. Open-source Spark has no client of a schema registry: the newest schema
is asked for at the start, and a record with the id of another is refused.
"""

import json
import os
import urllib.request

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.avro.functions import from_avro

KAFKA = {"kafka.bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"]}
REGISTRY = os.environ["SCHEMA_REGISTRY_URL"]
with urllib.request.urlopen(f"{REGISTRY}/subjects/clicks-value/versions/latest") as answer:
    SCHEMA = json.load(answer)
CHECKS = {
    "undecodable": f"hex(substring(value, 1, 5)) <> '{SCHEMA['id']:010X}' "
    "OR click.click_id IS NULL",
    "id_length": "least(octet_length(click.click_id), octet_length(click.user_id), "
    "octet_length(click.campaign_id)) < 1 OR greatest(octet_length(click.click_id), "
    "octet_length(click.user_id), octet_length(click.campaign_id)) > 64",
    "cost_range": "click.cost_minor NOT BETWEEN 0 AND 1000000",
    "event_time_range": "click.event_time < TIMESTAMP '2000-01-01 00:00:00 UTC' "
    "OR click.event_time >= TIMESTAMP '2100-01-01 00:00:00 UTC'",
}
spark = SparkSession.builder.appName("clicks").getOrCreate()


def to_table(rows: DataFrame, name: str) -> DataFrame:
    path = os.path.abspath(f"tables/{name}")
    # A table that is read as a stream must be there before.
    table = DeltaTable.createIfNotExists(spark).location(path)
    table.addColumns(rows.schema).execute()
    writer = rows.writeStream.format("delta").option("checkpointLocation", f"state/{name}")
    writer.start(path)
    return spark.readStream.format("delta").load(path)


def to_topic(rows: DataFrame, topic: str) -> None:
    writer = rows.writeStream.format("kafka").options(**KAFKA).option("topic", topic)
    writer.option("checkpointLocation", f"state/{topic}").start()


records = spark.readStream.format("kafka").options(**KAFKA).option("subscribe", "clicks")
records = records.option("startingOffsets", "earliest").option("maxOffsetsPerTrigger", 100_000)
bronze = to_table(records.load(), "bronze")
click = from_avro(F.expr("substring(value, 6)"), SCHEMA["schema"], {"mode": "PERMISSIVE"})
decoded = bronze.withColumn("click", click).withColumn(
    "reason", F.coalesce(*(F.when(F.expr(check), code) for code, check in CHECKS.items()))
)

refused = decoded.where("reason IS NOT NULL").drop("click")
to_table(refused, "quarantine")
reason = F.expr("array(struct('reason' AS key, CAST(reason AS BINARY) AS value))")
to_topic(refused.select("key", "value", reason.alias("headers")), "clicks.dlq")

good = decoded.where("reason IS NULL").select(
    "partition", "offset", F.col("timestamp").alias("kafka_timestamp"), "click.*"
)
unique = good.withWatermark("event_time", "7 days").dropDuplicatesWithinWatermark(["click_id"])
silver = to_table(unique, "silver")

alerts = silver.where("kind = 'CLICK' AND cost_minor > 2000").selectExpr(
    "'costly_click' AS rule_id",
    "click_id",
    "user_id",
    "'medium' AS severity",
    "least(100, cost_minor / 100) AS score",
    "format_string('a click for %d on campaign %s', cost_minor, campaign_id) AS reason",
)
to_table(alerts, "alerts")
alert = F.to_json(F.struct("*")).alias("value")
to_topic(alerts.select(F.col("user_id").alias("key"), alert), "clicks.alerts")

windows = silver.withWatermark("event_time", "30 seconds").groupBy(
    "campaign_id", F.window("event_time", "5 minutes")
)
panes = windows.agg(
    F.count_if(F.col("kind") == "IMPRESSION").alias("impressions"),
    F.count_if(F.col("kind") == "CLICK").alias("clicks"),
    F.count_if(F.col("kind") == "CONVERSION").alias("conversions"),
    F.sum("cost_minor").alias("cost_minor"),
    F.size(F.collect_set("user_id")).alias("users"),
)
to_table(panes.select("*", "window.*").drop("window"), "campaign_5m")
spark.streams.awaitAnyTermination()
