# samples are columns
import numpy as np


def step(X, Y, W1, b1, W2, b2, lr):
    A1 = 1 / (1 + np.exp(-(W1 @ X + b1)))
    A2 = 1 / (1 + np.exp(-(W2 @ A1 + b2)))
    dZ2 = (A2 - Y) * A2 * (1 - A2)
    dZ1 = W2.T @ dZ2 * A1 * (1 - A1)
    dW2, db2 = dZ2 @ A1.T, dZ2.sum(axis=1, keepdims=True)
    dW1, db1 = dZ1 @ X.T, dZ1.sum(axis=1, keepdims=True)
    return dict(
        A1=A1,
        A2=A2,
        dZ2=dZ2,
        dZ1=dZ1,
        dW1=dW1,
        db1=db1,
        dW2=dW2,
        db2=db2,
        new_W1=W1 - lr * dW1,
        new_b1=b1 - lr * db1,
        new_W2=W2 - lr * dW2,
        new_b2=b2 - lr * db2,
    )


LAYOUT = "columns"
NAMES = "X=x,Y=y,A1=a1,A2=a2,dZ1=delta1,dZ2=delta2,dW1=grad_W1,dW2=grad_W2,db1=grad_b1,db2=grad_b2"
