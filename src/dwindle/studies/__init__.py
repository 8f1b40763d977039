"""The main job: data + model + a space of plans -> a winner with its evidence."""
