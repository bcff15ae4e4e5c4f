"""One broker process: a trio shell around `brokerdemo.control`, `brokerdemo.znodes` and a coordination session.

Started by `brokerdemo.broker.main.run(options)`, in a forked child or by hand. Imports nothing heavy at package level,
so that a launcher may look at `brokerdemo.broker.options` without paying for trio.
"""
