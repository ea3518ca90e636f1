"""Get CIFAR-10 or CIFAR-100 (Krizhevsky 2009), Python version, ready for the bundle ``cifar10_classification_ima``.

170 MB. The address and the archives' MD5 checksums are their author's (https://www.cs.toronto.edu/~kriz/cifar.html),
the files' checksums torchvision's. The files are pickles, and are read by a reader that runs nothing in them.

    python data_scripts/get_cifar10.py --out DIR
    python data_scripts/get_cifar10.py --classes 100 --out DIR
"""

from public_files import command
from scripting import run

get = command("cifar10")

if __name__ == "__main__":
    run(get)
