"""What can go wrong in the store, by what the caller does next."""


class StoreError(Exception):
    """Base of the store's own errors; texts name ids, never contents."""


class LeaseLost(StoreError):
    """Another owner has the school, or may have it by now. Stop at once; nothing more can be committed."""


class CommitConflict(StoreError):
    """A record is not at the version that the commit expected. Nothing of the commit stayed; diff again."""


class RecordTooLarge(StoreError):
    """A record cannot be stored because its document would exceed MongoDB's 16 MB. Nothing was written."""


class StoreUnavailable(StoreError):
    """MongoDB could not be reached, has no primary, or did not answer in time. Retry later."""


class StoreTooSlow(StoreUnavailable):
    """MongoDB is there, and did not get done in the time that an operation has. Ask for less."""


class BulkFailed(StoreError):
    """MongoDB refused some writes of a bulk, ``duplicates`` of them for a key that exists already."""

    def __init__(self, duplicates: int, others: int) -> None:
        super().__init__(f"MongoDB refused writes: {duplicates} duplicate keys, {others} other reasons")
        self.duplicates = duplicates
        self.others = others


class RawPageMissing(StoreError):
    """Retained source rows are no longer there. Read them from the MIS again."""


class StoreMisconfigured(StoreError):
    """The deployment cannot keep the store's promises; the text says what to change."""


class EmbeddedError(StoreError):
    """The private MongoDB server cannot be started; the text says what to do."""
