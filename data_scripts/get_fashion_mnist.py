"""Get Fashion-MNIST (Xiao, Rasul & Vollgraf 2017, MIT licence) ready for ``fashion_mnist_classification_ima``.

Four IDX files, 30 MB. Address and MD5 checksums are those of its authors
(https://github.com/zalandoresearch/fashion-mnist), which torchvision has too.
"""

from public_files import command
from scripting import run

get = command("fashion_mnist")

if __name__ == "__main__":
    run(get)
