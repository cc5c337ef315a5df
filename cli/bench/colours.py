"""Of the pictures: Okabe and Ito's, which the colour-blind tell apart; ours are blue."""

OURS = ("#0072B2", "#56B4E9")
THEIRS = ("#D55E00", "#E69F00", "#CC79A7", "#999999")
GREY, DARK = "#BBBBBB", "#333333"
