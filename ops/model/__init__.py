"""Training of models, and looks at them."""
