"""The worker of a model that stays with Keras, under its former name."""

from server.inference.child import serve
from server.inference.keras_child import start

if __name__ == "__main__":
    serve(start)
