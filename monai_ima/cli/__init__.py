"""The command line, ``monai-ima VERB ...``: one module a verb, heavy imports only once work starts."""
