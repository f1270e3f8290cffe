"""Continual-learning methods in plain PyTorch: one file, one method.

Nothing here knows Ray, MLflow or files; a method can be used alone::

    from methods.core.registry import method_class
    Replay = method_class("replay")
    method = Replay(Replay.Config(buffer_size=500), stream_info, Rng(0), torch.device("cpu"))
    for task in tasks:
        method.learn(task)
"""
