"""Catalogs: services that know where tables are and how to get at them."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = [
    "Catalog",
    "CatalogAccessMode",
    "DatabricksUnityCatalog",
    "ReaderFormat",
    "ResolvedSource",
]


class ReaderFormat(str, Enum):
    """The formats of tables that a catalog gives access to."""

    DELTA = "delta"
    PARQUET = "parquet"
    ICEBERG = "iceberg"


class CatalogAccessMode(str, Enum):
    """What access is needed for."""

    READ = "read"
    WRITE = "write"

    def as_databricks_table_op(self) -> str:
        """The same in the words of Databricks."""
        return "READ" if self is CatalogAccessMode.READ else "READ_WRITE"


@dataclass
class ResolvedSource:
    """Where a table is, and what a reader needs.

    Parameters
    ----------
    path, filesystem, storage_options
        For Delta Lake and Parquet.
    catalog_kwargs, table_identifier
        For Iceberg.
    data_format
        The format, where the catalog knows.
    """

    path: str | None = None
    filesystem: Any = None
    storage_options: dict[str, Any] | None = None
    catalog_kwargs: dict[str, Any] | None = None
    table_identifier: str | None = None
    data_format: ReaderFormat | None = None


class Catalog(ABC):
    """A service that knows where tables are. Subclasses define ``resolve``."""

    @abstractmethod
    def resolve(
        self, table: str, *, reader: ReaderFormat, mode: CatalogAccessMode = CatalogAccessMode.READ
    ) -> ResolvedSource:
        """Where a table is.

        Parameters
        ----------
        table
            Its name.
        reader
            The format in which it is to be read or written.
        mode
            What access is needed for.
        """


def resolve_source(
    catalog: Catalog, table: str, *, reader: ReaderFormat, mode: CatalogAccessMode = CatalogAccessMode.READ
) -> ResolvedSource:
    """What a catalog says, checked."""
    if not isinstance(catalog, Catalog):
        raise TypeError(f"catalog is a rayjup.data.Catalog, not {catalog!r}.")
    found = catalog.resolve(table, reader=reader, mode=mode)
    if found.data_format is not None and found.data_format is not reader:
        raise ValueError(f"The table {table!r} is of format {found.data_format.value}, not {reader.value}.")
    return found


class DatabricksUnityCatalog(Catalog):
    """Unity Catalog of Databricks: temporary credentials for tables.

    Parameters
    ----------
    url, token
        The workspace, and a token that may use its schemas from outside.
    credential_provider
        An object with ``get_host()`` and ``get_token()`` instead.
    region
        The region of the storage, on AWS.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        token: str | None = None,
        credential_provider: Any = None,
        region: str | None = None,
    ) -> None:
        if credential_provider is None and not (url and token):
            raise ValueError("DatabricksUnityCatalog needs url and token, or a credential_provider.")
        self._url, self._token, self._provider, self._region = url, token, credential_provider, region

    def _access(self) -> tuple[str, str]:
        if self._provider is not None:
            host, token = self._provider.get_host(), self._provider.get_token()
        else:
            host, token = str(self._url), str(self._token)
        return (host if "://" in host else f"https://{host}").rstrip("/"), token

    def _call(self, path: str, body: Any = None) -> Any:
        host, token = self._access()
        request = urllib.request.Request(
            f"{host}/api/2.1/unity-catalog/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            detail = error.read().decode(errors="replace")[:300]
            raise PermissionError(f"Unity Catalog refused {path!r} ({error.code}): {detail}") from error

    def infer_format(self, table: str) -> ReaderFormat | None:
        """The format of a table; ``None`` where it is one that cannot be read here."""
        found = str(self._call(f"tables/{table}").get("data_source_format", "")).lower()
        return next((one for one in ReaderFormat if one.value == found), None)

    def resolve(
        self, table: str, *, reader: ReaderFormat, mode: CatalogAccessMode = CatalogAccessMode.READ
    ) -> ResolvedSource:
        """Where a table is, with credentials for it."""
        if reader is ReaderFormat.ICEBERG:
            host, token = self._access()
            catalog, _, rest = table.partition(".")
            arguments = {
                "name": catalog,
                "type": "rest",
                "uri": f"{host}/api/2.1/unity-catalog/iceberg-rest",
                "warehouse": catalog,
                "token": token,
            }
            return ResolvedSource(catalog_kwargs=arguments, table_identifier=rest, data_format=reader)
        described = self._call(f"tables/{table}")
        vended = self._call(
            "temporary-table-credentials",
            {"table_id": described["table_id"], "operation": mode.as_databricks_table_op()},
        )
        options = self.storage_options(vended)
        path = vended.get("url") or described["storage_location"]
        filesystem = self._filesystem(path, options) if reader is ReaderFormat.PARQUET else None
        stored = str(described.get("data_source_format", "")).lower()
        known = next((one for one in ReaderFormat if one.value == stored), None)
        return ResolvedSource(path, filesystem, options, data_format=known)

    def storage_options(self, vended: dict[str, Any]) -> dict[str, str]:
        """Credentials as readers of Delta Lake take them."""
        if aws := vended.get("aws_temp_credentials"):
            region = self._region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
            if not region:
                raise ValueError(
                    "The table lies on AWS: give the region, as DatabricksUnityCatalog(region=...)."
                )
            return {
                "AWS_ACCESS_KEY_ID": aws["access_key_id"],
                "AWS_SECRET_ACCESS_KEY": aws["secret_access_key"],
                "AWS_SESSION_TOKEN": aws["session_token"],
                "AWS_REGION": region,
            }
        if azure := vended.get("azure_user_delegation_sas"):
            return {"AZURE_STORAGE_SAS_TOKEN": azure["sas_token"]}
        if google := vended.get("gcp_oauth_token"):
            return {"GOOGLE_BEARER_TOKEN": google["oauth_token"]}
        raise ValueError(
            "Unity Catalog gave no credentials of a kind that is known here (AWS, Azure, Google)."
        )

    @staticmethod
    def _filesystem(path: str, options: dict[str, str]) -> Any:
        import pyarrow.fs as pafs

        if "AWS_ACCESS_KEY_ID" in options:
            return pafs.S3FileSystem(
                access_key=options["AWS_ACCESS_KEY_ID"],
                secret_key=options["AWS_SECRET_ACCESS_KEY"],
                session_token=options["AWS_SESSION_TOKEN"],
                region=options["AWS_REGION"],
            )
        if "AZURE_STORAGE_SAS_TOKEN" in options:
            account = path.partition("@")[2].partition(".")[0]
            return pafs.AzureFileSystem(account, sas_token=options["AZURE_STORAGE_SAS_TOKEN"])
        return pafs.GcsFileSystem(access_token=options["GOOGLE_BEARER_TOKEN"])
