"""Dataset readers and synthetic phantoms."""

from .kermany import CLASSES, DamagedImageError, kermany_datalist, scan_datalist, summarize
from .oct import oct_datalist
from .oct_phantom import oct_phantom, write_oct_phantom

__all__ = [
    "CLASSES",
    "DamagedImageError",
    "kermany_datalist",
    "oct_datalist",
    "oct_phantom",
    "scan_datalist",
    "summarize",
    "write_oct_phantom",
]
