"""Sources of transformation jobs: where records come from, read one by one in constant memory."""

from gnj.settings_transform import SourceLimits
from gnj.transform.sources.fetch import Answer, Fetch, Http
from gnj.transform.sources.items import Bad, Validators
from gnj.transform.sources.opening import Opened, check_source, open_source
from gnj.transform.sources.registry import SOURCE_TYPES, Fetcher, SourceRegistry
from gnj.transform.sources.sealing import Secrets
from gnj.transform.sources.source import Source

__all__ = [
    "SOURCE_TYPES",
    "Answer",
    "Bad",
    "Fetch",
    "Fetcher",
    "Http",
    "Opened",
    "Secrets",
    "Source",
    "SourceLimits",
    "SourceRegistry",
    "Validators",
    "check_source",
    "open_source",
]
