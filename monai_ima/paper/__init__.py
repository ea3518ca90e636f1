"""What a paper takes in: tables and methods in LaTeX, vector figures, references in BibTeX, every score as CSV."""

from .figures import KINDS
from .known import TRAININGS
from .long_table import long_table
from .methods import methods
from .pack import write_pack

__all__ = ["KINDS", "TRAININGS", "long_table", "methods", "write_pack"]
