"""One page that answers an auditor's questions, from the models in a warehouse."""
