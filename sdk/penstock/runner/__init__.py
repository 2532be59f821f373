"""What runs inside a pod: claims the run, loads the code, runs the flow, reports (`python -m penstock.runner`).

Every import here delays every run: the standard library only, and of that no more than is needed.
"""
