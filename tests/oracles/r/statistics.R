# The numbers of statistics.json, by R (base packages alone): Rscript tests/oracles/r/statistics.R
# Run it in the repository's root; it prints the JSON document. tests/stats/test_by_r.py compares dametric with it.

# Pearson's data with York's weights: York et al. 2004, Am. J. Phys. 72, 367, doi 10.1119/1.1632486, table II.
x <- c(0.0, 0.9, 1.8, 2.6, 3.3, 4.4, 5.2, 6.1, 6.5, 7.4)
y <- c(5.9, 5.4, 4.4, 4.6, 3.5, 3.7, 2.8, 2.8, 2.4, 1.5)
wx <- c(1000, 1000, 500, 800, 200, 80, 60, 20, 1.8, 1)
wy <- c(1, 1.8, 4, 8, 20, 20, 70, 70, 100, 500)

# The published points of one unit (Wang et al. 2022, arXiv 2012.02909): score and student loss of nine augmentations.
points <- read.csv("dametric/stats/published_points.csv")
unit <- subset(points, dataset == "cifar100" & teacher == "wrn_40_2")
score <- unit$t_stddev
loss <- unit$student_test_loss

out <- list()
keep <- function(name, value) out[[name]] <<- as.numeric(value)

# --- coefficients and intervals -------------------------------------------------------------------------------------
pearson <- cor.test(score, loss)
keep("pearson", pearson$estimate)
keep("pearson_fisher", pearson$conf.int)
keep("spearman", cor(score, loss, method = "spearman"))
kendall <- cor.test(score, loss, method = "kendall", exact = TRUE, alternative = "greater")
keep("kendall", kendall$estimate)
keep("kendall_greater", kendall$p.value)
tied <- c(1, 2, 2, 3, 4, 4, 5)
other <- c(2, 1, 3, 3, 5, 4, 7)
keep("kendall_ties", cor(tied, other, method = "kendall"))
keep("spearman_ties", cor(tied, other, method = "spearman"))

# Every permutation of seven points, for all three coefficients; greater and less, and twice the smaller.
permutations <- function(n) {
  if (n == 1) return(matrix(1L))
  rest <- permutations(n - 1)
  put <- function(i) cbind(rest[, seq_len(i - 1), drop = FALSE], n, rest[, seq_len(n - i) + i - 1, drop = FALSE])
  do.call(rbind, lapply(seq_len(n), put))
}
all <- permutations(7)
for (method in c("pearson", "spearman", "kendall")) {
  seen <- cor(tied, other, method = method)
  values <- apply(all, 1, function(p) cor(tied, other[p], method = method))
  greater <- mean(values >= seen - 1e-9)
  less <- mean(values <= seen + 1e-9)
  keep(paste0("exact_", method), c(greater, less, min(1, 2 * min(greater, less))))
}

# --- lines ----------------------------------------------------------------------------------------------------------
line <- lm(loss ~ score)
design <- model.matrix(line)
bread <- solve(crossprod(design))
hc3 <- bread %*% crossprod(design * (residuals(line) / (1 - hatvalues(line)))) %*% bread
keep("ols", coef(line))
keep("hc3_se", sqrt(diag(hc3)))
keep("cook", cooks.distance(line))
keep("r_squared", summary(line)$r.squared)

b <- coef(lm(y ~ x))[[2]]
for (step in 1:200) {
  w <- wx * wy / (wx + b^2 * wy)
  u <- x - weighted.mean(x, w)
  v <- y - weighted.mean(y, w)
  beta <- w * (u / wy + b * v / wx)
  b <- sum(w * beta * v) / sum(w * beta * u)
}
a <- weighted.mean(y, w) - b * weighted.mean(x, w)
at <- weighted.mean(x, w) + beta
middle <- weighted.mean(at, w)
slope_se <- 1 / sqrt(sum(w * (at - middle)^2))
keep("york", c(a, b))
keep("york_se", c(sqrt(1 / sum(w) + middle^2 * slope_se^2), slope_se))
keep("york_chi2", sum(w * (y - a - b * x)^2))

# --- two metrics ----------------------------------------------------------------------------------------------------
# Williams 1959 as Steiger 1980, doi 10.1037/0033-2909.87.2.245, has it; the case is that of psych::r.test.
williams <- function(r12, r13, r23, n) {
  size <- 1 - r12^2 - r13^2 - r23^2 + 2 * r12 * r13 * r23
  below <- 2 * (n - 1) / (n - 3) * size + ((r12 + r13) / 2)^2 * (1 - r23)^3
  t <- (r12 - r13) * sqrt((n - 1) * (1 + r23) / below)
  c(t, 2 * pt(-abs(t), n - 3))
}
keep("williams", williams(0.4, 0.5, 0.1, 103))
keep("williams_nine", williams(0.95, 0.85, 0.9, 9))
chances <- c(0.001, 0.01, 0.02, 0.03, 0.04, 0.5)
keep("holm", p.adjust(chances, "holm"))
keep("bh", p.adjust(chances, "BH"))

# --- units together -------------------------------------------------------------------------------------------------
# DerSimonian & Laird 1986, doi 10.1016/0197-2456(86)90046-2, on thirteen trials of the BCG vaccine (Colditz et al.
# 1994), as worked through for metafor (Viechtbauer 2010, doi 10.18637/jss.v036.i03).
ill <- c(4, 6, 3, 62, 33, 180, 8, 505, 29, 17, 186, 5, 27)
well <- c(119, 300, 228, 13536, 5036, 1361, 2537, 87886, 7470, 1699, 50448, 2493, 16886)
ill2 <- c(11, 29, 11, 248, 47, 372, 10, 499, 45, 65, 141, 3, 29)
well2 <- c(128, 274, 209, 12619, 5761, 1079, 619, 87892, 7232, 1600, 27197, 2338, 17825)
effect <- log(ill / (ill + well) / (ill2 / (ill2 + well2)))
variance <- 1 / ill - 1 / (ill + well) + 1 / ill2 - 1 / (ill2 + well2)
w <- 1 / variance
q <- sum(w * (effect - weighted.mean(effect, w))^2)
tau2 <- max(0, (q - 12) / (sum(w) - sum(w^2) / sum(w)))
v <- 1 / (variance + tau2)
keep("dersimonian_laird", c(weighted.mean(effect, v), 1 / sqrt(sum(v)), tau2, q, 1 - 12 / q))
spread <- function(t) sum((effect - weighted.mean(effect, 1 / (variance + t)))^2 / (variance + t)) - 12
paule <- uniroot(spread, c(0, 10), tol = 1e-12)
keep("paule_mandel", paule$root)

# Kendall's W of the losses of the published units, with ties, through Friedman's chi-squared = m (n - 1) W.
wide <- tapply(points$student_test_loss, list(paste(points$dataset, points$teacher), points$aug), mean)
friedman <- friedman.test(wide)
keep("concordance_losses", friedman$statistic / (nrow(wide) * (ncol(wide) - 1)))

# Kendall's partial tau of score and loss given a third order, by the inverse of the matrix of taus.
taus <- cor(cbind(score, loss, c(2, 1, 3, 5, 4, 7, 6, 9, 8)), method = "kendall")
inverse <- solve(taus)
keep("partial_tau", -inverse[1, 2] / sqrt(inverse[1, 1] * inverse[2, 2]))

# Fisher's z of Spearman's rho with the variance of Bonett & Wright 2000, doi 10.1007/BF02294183.
rho <- out[["spearman"]]
keep("spearman_fisher", tanh(atanh(rho) + c(-1, 1) * qnorm(0.975) * sqrt((1 + rho^2 / 2) / (length(score) - 3))))

shown <- function(value) {
  text <- paste(trimws(formatC(value, digits = 15, format = "g")), collapse = ", ")
  if (length(value) == 1) text else paste0("[", text, "]")
}
lines <- paste0(' "', names(out), '": ', sapply(out, shown))
about <- paste0(' "made_by": "', R.version.string, '"')
cat("{\n", paste(c(about, lines), collapse = ",\n"), "\n}\n", sep = "")
