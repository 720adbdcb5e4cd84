"""Its functions are decorated: the model comes in as their first argument."""

import nvflare.client as flare


@flare.evaluate
def evaluate(input_model, scale=1.0):
    return {"size": scale * abs(float(input_model.params["weight"]))}


@flare.train
def train(input_model=None, step=1.0):
    return flare.FLModel(params={"weight": input_model.params["weight"] + step})


flare.init()
while flare.is_running():
    model = flare.receive()
    evaluate(model, scale=2.0)
    train(model, step=float(flare.get_site_name()[-1]))
