//! Weighted ridge regression through the normal equations; small and dense.

/// Number of predictors: the anomaly of the issue month and of the [`crate::forecast::LAGS`] months before it.
pub const PREDICTORS: usize = crate::forecast::LAGS + 1;

/// One row of predictors.
pub type Row = [f64; PREDICTORS];

/// The coefficients that minimise `Σ weight · (target − row · w)² + ridge · |w|²`.
pub fn ridge(rows: &[Row], targets: &[f64], weights: impl Fn(usize) -> f64, ridge: f64) -> Row {
    let mut matrix = [[0.0; PREDICTORS]; PREDICTORS];
    let mut right = [0.0; PREDICTORS];
    for (index, (row, target)) in rows.iter().zip(targets).enumerate() {
        let weight = weights(index);
        for i in 0..PREDICTORS {
            let weighted = weight * row[i];
            right[i] += weighted * target;
            for (cell, value) in matrix[i].iter_mut().zip(row) {
                *cell += weighted * value;
            }
        }
    }
    for (i, line) in matrix.iter_mut().enumerate() {
        line[i] += ridge;
    }
    solve(matrix, right)
}

/// The product of predictors and coefficients.
pub fn dot(row: &Row, coefficients: &Row) -> f64 {
    row.iter().zip(coefficients).map(|(x, w)| x * w).sum()
}

/// Gaussian elimination without pivoting: the matrix is symmetric and positive definite, since `ridge` is positive.
fn solve(mut matrix: [Row; PREDICTORS], mut right: Row) -> Row {
    for pivot in 0..PREDICTORS {
        let base = matrix[pivot];
        for below in pivot + 1..PREDICTORS {
            let factor = matrix[below][pivot] / base[pivot];
            for (cell, value) in matrix[below].iter_mut().zip(&base) {
                *cell -= factor * value;
            }
            right[below] -= factor * right[pivot];
        }
    }
    let mut solution = [0.0; PREDICTORS];
    for i in (0..PREDICTORS).rev() {
        let known: f64 = (i + 1..PREDICTORS).map(|j| matrix[i][j] * solution[j]).sum();
        solution[i] = (right[i] - known) / matrix[i][i];
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_coefficients_that_made_the_data() {
        let truth: Row = std::array::from_fn(|i| 0.5 - i as f64 * 0.2);
        let rows: Vec<Row> = (0..40)
            .map(|n| std::array::from_fn(|i| ((n * 7 + i * 13) % 17) as f64 - 8.0 + (n % (i + 2)) as f64))
            .collect();
        let targets: Vec<f64> = rows.iter().map(|row| dot(row, &truth)).collect();
        let found = ridge(&rows, &targets, |n| 1.0 + (n % 3) as f64, 1e-9);
        for (a, b) in found.iter().zip(&truth) {
            assert!((a - b).abs() < 1e-6, "{found:?}");
        }
    }
}
