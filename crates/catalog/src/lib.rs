//! What is for sale: products, variants, prices, categories
