"""Whether explanations are faithful: metrics, replacements and references by name.

`catalogue` is plain data, `measuring` takes a name to scores: our own evaluation where it is
batched over images and steps (`curves`, `subsets`), else Quantus behind one bridge
(`quantus_bridge`; `quantus_metrics`, `quantus_mends` and `quantus_model` are what it is given).
`replacements` names what stands in the place of removed pixels, and `replacing` puts it there.
Importing this package loads neither torch nor Quantus.
"""
