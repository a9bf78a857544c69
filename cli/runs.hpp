#pragma once

#include "cli/command.hpp"

namespace troupe {

// One function per command; each lives in the file of its name (run_query.cpp, …).
outcome<void> run_waitready(const invocation& call);
outcome<void> run_init(const invocation& call);
outcome<void> run_image_build(const invocation& call);
outcome<void> run_info(const invocation& call);
outcome<void> run_version(const invocation& call);
outcome<void> run_query(const invocation& call);
outcome<void> run_operation_list(const invocation& call);
outcome<void> run_operation_show(const invocation& call);
outcome<void> run_operation_wait(const invocation& call);
outcome<void> run_operation_cancel(const invocation& call);
outcome<void> run_operation_follow(const invocation& call);
outcome<void> run_monitor(const invocation& call);
outcome<void> run_history(const invocation& call);
outcome<void> run_retention_show(const invocation& call);
outcome<void> run_retention_apply(const invocation& call);
outcome<void> run_subscription_list(const invocation& call);
outcome<void> run_subscription_show(const invocation& call);
outcome<void> run_subscription_delete(const invocation& call);
outcome<void> run_bus_call(const invocation& call);
outcome<void> run_bus_describe(const invocation& call);
outcome<void> run_sink_list(const invocation& call);
outcome<void> run_sink_show(const invocation& call);
outcome<void> run_sink_create(const invocation& call);
outcome<void> run_sink_set(const invocation& call);
outcome<void> run_sink_delete(const invocation& call);
outcome<void> run_sink_dead_letters(const invocation& call);
outcome<void> run_audit(const invocation& call);
outcome<void> run_trust_list(const invocation& call);
outcome<void> run_trust_add(const invocation& call);
outcome<void> run_trust_remove(const invocation& call);
outcome<void> run_trust_show(const invocation& call);
outcome<void> run_trust_edit(const invocation& call);
outcome<void> run_trust_list_tokens(const invocation& call);
outcome<void> run_trust_revoke_token(const invocation& call);
outcome<void> run_group_list(const invocation& call);
outcome<void> run_group_show(const invocation& call);
outcome<void> run_group_create(const invocation& call);
outcome<void> run_group_rename(const invocation& call);
outcome<void> run_group_delete(const invocation& call);
outcome<void> run_group_permission_add(const invocation& call);
outcome<void> run_group_permission_remove(const invocation& call);
outcome<void> run_identity_list(const invocation& call);
outcome<void> run_identity_show(const invocation& call);
outcome<void> run_identity_create(const invocation& call);
outcome<void> run_identity_delete(const invocation& call);
outcome<void> run_identity_group_add(const invocation& call);
outcome<void> run_identity_group_remove(const invocation& call);
outcome<void> run_mapping_list(const invocation& call);
outcome<void> run_mapping_create(const invocation& call);
outcome<void> run_mapping_delete(const invocation& call);
outcome<void> run_mapping_group_add(const invocation& call);
outcome<void> run_mapping_group_remove(const invocation& call);
outcome<void> run_permission_list(const invocation& call);

} // namespace troupe
