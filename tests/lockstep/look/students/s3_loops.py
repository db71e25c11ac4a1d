import math, random
random.seed(3)

n_in, n_hid, n_out = 3, 4, 2
w_ih = [[random.uniform(-1, 1) for _ in range(n_hid)] for _ in range(n_in)]
w_ho = [[random.uniform(-1, 1) for _ in range(n_out)] for _ in range(n_hid)]
b_h = [0.0] * n_hid
b_o = [0.0] * n_out
lr = 0.2

def sig(a):
    return 1.0 / (1.0 + math.exp(-a))

def train_one(inp, target):
    # forward
    hid = []
    for j in range(n_hid):
        s = b_h[j]
        for i in range(n_in):
            s += inp[i] * w_ih[i][j]
        hid.append(sig(s))
    out = []
    for k in range(n_out):
        s = b_o[k]
        for j in range(n_hid):
            s += hid[j] * w_ho[j][k]
        out.append(sig(s))
    # backward
    delta_out = []
    for k in range(n_out):
        delta_out.append((out[k] - target[k]) * out[k] * (1 - out[k]))
    delta_hid = []
    for j in range(n_hid):
        for k in range(n_out):
            err = delta_out[k] * w_ho[j][k]
        delta_hid.append(err * hid[j] * (1 - hid[j]))
    # update
    for j in range(n_hid):
        for k in range(n_out):
            w_ho[j][k] -= lr * delta_out[k] * hid[j]
    for k in range(n_out):
        b_o[k] -= lr * delta_out[k]
    for i in range(n_in):
        for j in range(n_hid):
            w_ih[i][j] -= lr * delta_hid[j] * inp[i]
    for j in range(n_hid):
        b_h[j] -= lr * delta_hid[j]
    return 0.5 * sum((target[k] - out[k]) ** 2 for k in range(n_out))

data = [([0, 0, 1], [1, 0]), ([0, 1, 1], [0, 1]), ([1, 0, 1], [0, 1]), ([1, 1, 1], [1, 0])]
for epoch in range(2000):
    total = 0
    for inp, target in data:
        total += train_one(inp, target)
    if epoch % 500 == 0:
        print(epoch, total)
