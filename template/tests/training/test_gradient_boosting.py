"""Trees."""

from model_service.training import gradient_boosting
from model_service.training.export import export
from model_service.training.gradient_boosting import Parameters
from tests.training.rows import small_dataset


def test_the_first_trees_are_what_fewer_iterations_fit() -> None:
    rows = small_dataset()
    parameters = Parameters(
        max_iter=40,
        learning_rate=0.1,
        max_leaf_nodes=4,
        min_samples_leaf=10,
        l2_regularization=1,
    )
    model = gradient_boosting.fit(rows, parameters, seed=1)

    for each in gradient_boosting.smaller(model, rows, parameters, seed=1):
        fewer = Parameters.model_validate(each.parameters.model_dump())
        again = gradient_boosting.fit(rows, fewer, seed=1)
        assert export(each.model) == export(again)
    assert model.trees == 40
