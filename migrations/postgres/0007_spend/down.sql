DROP TABLE usage_limit_groups;
DROP TABLE usage_limit_users;
DROP TABLE usage_limits;
DROP TABLE usage_days;
DROP TABLE usage_ledger;
