"""The official Blob Storage SDK for the tests, with Azurite's well-known account: blob_storage.py PORT [AUTHORITY]"""

import sys

from azure.storage.blob import BlobLeaseClient, BlobServiceClient, ContentSettings

from json_lines import serve, to_bytes, to_text

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Operations:
    """A client of one account."""

    def __init__(self, port, authority=None):
        protocol = "https" if authority else "http"
        self.client = BlobServiceClient.from_connection_string(
            f"DefaultEndpointsProtocol={protocol};AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint={protocol}://127.0.0.1:{port}/{ACCOUNT};",
            retry_total=0,
            connection_verify=authority or True,
        )

    def create_container(self, container):
        """Makes a container."""
        self.client.create_container(container)

    def delete_container(self, container):
        """Removes a container with its blobs."""
        self.client.delete_container(container)

    def upload(self, container, name, body, content_type="application/octet-stream", metadata=None, kind="BlockBlob"):
        """Writes a blob, replacing what is there."""
        blob = self.client.get_blob_client(container, name)
        settings = ContentSettings(content_type=content_type)
        blob.upload_blob(to_bytes(body), kind, overwrite=True, content_settings=settings, metadata=metadata)

    def snapshot(self, container, name):
        """Keeps a blob as it is now, under its name and a time."""
        self.client.get_blob_client(container, name).create_snapshot()

    def lease(self, container, name):
        """Locks a blob for others until the lease is ended."""
        self.client.get_blob_client(container, name).acquire_lease()

    def end_lease(self, container, name):
        """Ends the lease of a blob."""
        BlobLeaseClient(self.client.get_blob_client(container, name)).break_lease(0)

    def list(self, container):
        """Names, versions, addresses and metadata of all blobs."""
        blobs = self.client.get_container_client(container)
        return [
            {
                "name": blob.name,
                "etag": blob.etag,
                "uri": blobs.get_blob_client(blob.name).url,
                "content_type": blob.content_settings.content_type,
                "length": blob.size,
                "last_modified": blob.last_modified.isoformat(timespec="seconds"),
                "metadata": blob.metadata or {},
            }
            for blob in blobs.list_blobs(include=["metadata"])
        ]

    def download(self, container, name):
        """A blob's content."""
        return to_text(self.client.get_blob_client(container, name).download_blob().readall())

    def delete(self, container, name):
        """Removes a blob."""
        self.client.get_blob_client(container, name).delete_blob()


if __name__ == "__main__":
    operations = Operations(*sys.argv[1:])
    names = ("create_container", "delete_container", "upload", "snapshot", "lease", "end_lease", "list", "download", "delete")
    serve({name: getattr(operations, name) for name in names})
