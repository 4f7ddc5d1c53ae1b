"""The service, as `chassis serve`, `bentoml serve` and `bentoml build` name it."""

from ml_chassis import project
from ml_chassis.serving.bento import create_service

ModelService = create_service(project.read())
