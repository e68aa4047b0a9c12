//! What is there: stock, holds, movements
