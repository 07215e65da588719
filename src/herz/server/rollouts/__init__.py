"""Running rollouts: what the pure state machine of `herz.release` decides is carried out here, fenced, once."""
