"""Read all JSON lines and Parquet files below a prefix: ``read_s3.py URL BUCKET PREFIX``."""

from __future__ import annotations

import gzip
import io
import json
import sys
from typing import Any

import boto3  # type: ignore[import-not-found] # ty: ignore[import-not-found] # only in its own environment
from pyarrow import parquet  # type: ignore[import-not-found] # ty: ignore[import-not-found] # likewise

KINDS = {str: "string", bool: "boolean", int: "number", dict: "object", list: "array"}


def main(url: str, bucket: str, prefix: str) -> None:
    """Write rows and types as JSON."""
    rows: dict[str, list[dict[str, Any]]] = {}
    types: dict[str, dict[str, str]] = {}
    s3 = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
        for each in page.get("Contents", []):
            stream = each["Key"].split("/")[1]
            content = s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
            seen = types.setdefault(stream, {})
            if each["Key"].endswith(".parquet"):
                # With threads of its own, the process may abort at its end.
                table = parquet.ParquetFile(io.BytesIO(content)).read(use_threads=False)
                # A column without a value has no type in its file.
                seen |= {c.name: str(c.type) for c in table.schema if str(c.type) != "null"}
                found = table.to_pylist()
            else:
                found = [json.loads(line) for line in gzip.decompress(content).splitlines()]
                for record in found:
                    seen |= {k: KINDS[type(v)] for k, v in record.items() if v is not None}
            rows.setdefault(stream, []).extend(found)
    json.dump({"rows": rows, "types": types}, sys.stdout, default=str)


if __name__ == "__main__":
    main(*sys.argv[1:])
