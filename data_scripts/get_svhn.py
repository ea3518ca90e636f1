"""Get the cropped house numbers of SVHN (Netzer et al. 2011, non-commercial use) ready for ``svhn_classification_ima``.

Two MATLAB files, 250 MB. The address is that of its authors (http://ufldl.stanford.edu/housenumbers), MD5 checksums are
torchvision's.
"""

from public_files import command
from scripting import run

get = command("svhn")

if __name__ == "__main__":
    run(get)
