"""What the three bundles name in their JSON: films in, volumes out, weights, parents, and a guard against misspelt settings."""
