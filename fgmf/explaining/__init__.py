"""Explanations for people: pictures, stages, curves, and explainers side by side.

`comparing` scores explainers on five criteria (`criteria`) and weighs these by entropy
(`weighing`); `painting` draws maps, `page` writes one HTML file, `showing` does all of it.
"""
