"""Its scores are no numbers: one site has none at all, the other writes a report."""

import nvflare.client as flare

flare.init()
has_report = flare.get_site_name() == "site-2"

while flare.is_running():
    model = flare.receive()
    metrics = {"report": "precision  recall\n0.9        0.8\n" * 200} if has_report else {}
    if flare.get_task_name() == "validate":
        flare.send(flare.FLModel(metrics=metrics))
    else:
        params = model.params or {"weight": 1.0, "count": None, "tree": b"bytes"}
        flare.send(flare.FLModel(params=params, metrics=metrics))
