"""Target formats: their fields, and the conversion of records (sections "Target formats" and "Formats" of the contract)."""

from gnj.transform.formats.model import Attribute, Field, FieldType
from gnj.transform.formats.target import Handler, TargetFormat, compile_format

__all__ = ["Attribute", "Field", "FieldType", "Handler", "TargetFormat", "compile_format"]
