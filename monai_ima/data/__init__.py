"""Dataset readers and synthetic phantoms."""

from .kermany import CLASSES, DamagedImageError, kermany_datalist, scan_datalist, summarize
from .msd import check_volumes, msd_datalist, volume_scans
from .oct import oct_datalist
from .oct_phantom import oct_phantom, write_oct_phantom
from .volume_phantom import volume_phantom, write_volume_phantom
from .volumes import volume_datalist

__all__ = [
    "CLASSES",
    "DamagedImageError",
    "check_volumes",
    "kermany_datalist",
    "msd_datalist",
    "oct_datalist",
    "oct_phantom",
    "scan_datalist",
    "summarize",
    "volume_datalist",
    "volume_phantom",
    "volume_scans",
    "write_oct_phantom",
    "write_volume_phantom",
]
