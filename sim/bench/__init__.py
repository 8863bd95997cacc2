"""Benches: this director and Dovecot 2.3's side by side on one machine. `python -m sim.bench -h`.

What is measured stands in one file per question; `runner` decides in which order, `results` what
the numbers mean, `nodes` and `rings` how a director of either kind is started, and `tools` and the
two C programs make the load.
"""
