"""MLflow: a run there for each start of a run, tagged with its folder. MLFLOW_TRACKING_URI and its others hold."""

from collections.abc import Mapping

import mlflow

from student_trainer.settings import TrainSettings


class MLflow:
    """Logs each step in one request."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        mlflow.log_metrics(dict(metrics), step=step)

    def close(self) -> None:
        mlflow.end_run()


def start(settings: TrainSettings, step: int) -> MLflow:
    """Begin a run, with the settings as its parameters."""
    folder = settings.run_folder
    mlflow.start_run(run_name=folder.name, tags={"run_folder": str(folder), "after_step": str(step)})
    mlflow.log_dict(settings.model_dump(mode="json"), "config.yaml")
    return MLflow()
