"""The mathematics: noise levels, consistency rules, samplers and posterior statistics."""
