"""How often is a verdict right? Labelled simulations, our judge, its peers, and what each idea of ours is worth."""
