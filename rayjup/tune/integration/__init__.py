"""Callbacks for libraries that train inside of trials (mirrors ``ray.tune.integration``); one file each."""
