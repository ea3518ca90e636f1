"""Run by torchrun in the bundles' tests: train a bundle and write this rank's margins to a file."""

import json
import sys

import torch.distributed as dist
from monai.bundle import ConfigWorkflow

files, overrides, out = json.loads(sys.argv[1])
workflow = ConfigWorkflow(config_file=files, **overrides)
workflow.initialize()
table = workflow.parser.get_parsed_content("train#handlers#0").margins
workflow.run()
with open(f"{out}/rank{dist.get_rank()}.json", "w") as file:
    json.dump({sample_id: table[sample_id] for sample_id in table.ids()}, file)
workflow.finalize()
