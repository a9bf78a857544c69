#include "cli/command.hpp"

#include "cli/runs.hpp"

#include <charconv>

namespace troupe {
namespace {

using enum argument::kind;

constexpr argument waitready_arguments[] = {
    {"-t,--timeout", text, "give up after this many seconds (default: wait for ever)"},
};

constexpr argument init_arguments[] = {
    {"--auto", flag, "no questions: a pool (btrfs if it works, else dir), a bridge and the default profile"},
    {"--minimal", flag, "no questions: like --auto, but with a dir pool"},
    {"--preseed", flag, "read the wanted set-up as YAML from stdin"},
    {"--dump", flag, "print the present set-up as such YAML"},
    {"--storage-backend", text, "with --auto: the pool's driver (btrfs or dir)"},
    {"--storage-pool", text, "with --auto: the pool's name", "default"},
    {"--storage-create-device", text, "with --auto: make the pool on this block device"},
    {"--storage-create-loop", text, "with --auto: size of the pool's loop file in GiB"},
};

constexpr argument image_build_arguments[] = {
    {"RECIPE", required_positional, "busybox or debian/12"},
    {"--alias", text, "name of the image (default: the recipe's name, with -vm behind it for a virtual machine)"},
    {"--vm", flag, "for virtual machines"},
    {"--mirror", text, "debian/12: fetch packages from this URL"},
};

constexpr argument query_arguments[] = {
    {"PATH", required_positional, "e.g. /1.0/instances?recursion=1"},
    {"-X,--request", text, "the method", "GET"},
    {"-d,--data", text, "the body, as JSON"},
    {"--wait", flag, "follow the operation to its end and print it"},
    {"--raw", flag, "print the whole reply, not only its metadata"},
};

constexpr argument operation_list_arguments[] = {
    {"--all", flag, "also those that have ended and are still kept"},
    {"--entity", text, "only those of this thing, e.g. instance/default/c1"},
};

constexpr argument operation_arguments[] = {{"ID", required_positional, "the operation's id"}};

constexpr argument monitor_arguments[] = {
    {"--type", text, "only these: operation, lifecycle, logging (comma-separated)"},
    {"--filter", text, "only these subjects PROJECT.KIND.NAME.VERB, with * and > (comma-separated)"},
    {"--since", text, "first what came behind this cursor, or \"beginning\""},
    {"--snapshot", flag, "first the things there are"},
    {"--format", text, "json (one object per line) or pretty", "json"},
};

constexpr argument history_arguments[] = {
    {"ENTITY", required_positional, "an instance's name, or KIND/PROJECT/NAME"},
    {"--limit", text, "show this many of the newest events", "100"},
    {"--format", text, "table or json", "table"},
};

constexpr argument subscription_arguments[] = {{"NAME", required_positional, "the subscription's name"}};

constexpr argument retained_instance{"INSTANCE", required_positional, "the instance's name"};
constexpr argument retained_project{"--project", text, "its project", "default"};
constexpr argument retention_show_arguments[] = {
    retained_instance,
    retained_project,
    {"--keep-hourly", text, "as if snapshots.keep.hourly were this"},
    {"--keep-daily", text, "as if snapshots.keep.daily were this"},
    {"--keep-weekly", text, "as if snapshots.keep.weekly were this"},
    {"--keep-monthly", text, "as if snapshots.keep.monthly were this"},
};
constexpr argument retention_apply_arguments[] = {retained_instance, retained_project};

// Of commands on the bus: a daemon elsewhere.
constexpr argument bus_server{"--server", text, "HOST:PORT of a daemon's core.bus_address (default: the one here)"};
constexpr argument bus_server_cert{"--server-cert", text, "with --server: the certificate (PEM file) it must have"};
constexpr argument bus_cert{"--cert", text, "with --server: our certificate (PEM file), which it must trust"};
constexpr argument bus_key{"--key", text, "with --server: our certificate's key (PEM file)"};

constexpr argument bus_call_arguments[] = {
    {"METHOD", required_positional, "the way to a method: 'instances.get(c1).start'"},
    {"ARGUMENTS", positional, "its parameters, as JSON"},
    {"--wait", flag, "wait for the operation or command that it begins and print how it ended"},
    bus_server,
    bus_server_cert,
    bus_cert,
    bus_key,
};

constexpr argument bus_describe_arguments[] = {
    {"INTERFACE", positional, "only this one"}, bus_server, bus_server_cert, bus_cert, bus_key};

constexpr argument sink_arguments[] = {{"NAME", required_positional, "the sink's name"}};

constexpr argument sink_create_arguments[] = {
    {"NAME", required_positional, "the sink's name"},
    {"TYPE", required_positional, "file, webhook or nats"},
    {"KEY=VALUE", words, "configuration; KEY=@FILE reads the value from a file"},
    {"--filter", text, "only these subjects PROJECT.KIND.NAME.VERB, with * and > (comma-separated)"},
    {"--type", text, "only these: lifecycle, operation (comma-separated)"},
    {"--start", text, "now, beginning, or behind this cursor", "now"},
    {"--description", text, "what it is for"},
};

constexpr argument sink_set_arguments[] = {
    {"NAME", required_positional, "the sink's name"},
    {"KEY=VALUE", words, "configuration; KEY=@FILE reads the value from a file, KEY= removes the key"},
    {"--filter", text, "only these subjects (comma-separated; \">\": all)"},
    {"--type", text, "only these: lifecycle, operation (comma-separated)"},
    {"--description", text, "what it is for"},
};

constexpr argument dead_letters_arguments[] = {
    {"NAME", required_positional, "the sink's name"},
    {"--delete", flag, "delete them"},
};

constexpr argument certificate_arguments[] = {
    {"FINGERPRINT", required_positional, "the certificate's fingerprint, or how it begins"}};

constexpr argument trust_add_arguments[] = {
    {"FILE", positional, "a client's certificate (PEM); without one a token is made for --name"},
    {"--name", text, "what the client is called"},
    {"--type", text, "client or metrics", "client"},
    {"--restricted", flag, "only what belongs to --projects"},
    {"--projects", text, "projects of a restricted client (comma-separated)"},
};

constexpr argument audit_arguments[] = {
    {"--format", text, "table or json (waived findings too)", "table"},
    {"--waivers", text, "file of what is accepted (default: audit.waivers in the state folder)"},
    {"--all", flag, "in the table, waived findings too"},
};

constexpr argument token_arguments[] = {{"NAME", required_positional, "the client's name"}};

constexpr argument group{"GROUP", required_positional, "the group's name"};
constexpr argument identity{"IDENTITY", required_positional, "METHOD/NAME, like tls/laptop or oidc/alice@example.org"};
constexpr argument provider_group{"PROVIDER-GROUP", required_positional, "what the identity provider calls the group"};

constexpr argument group_arguments[] = {group};
constexpr argument group_create_arguments[] = {group, {"--description", text, "what it is for"}};
constexpr argument group_rename_arguments[] = {group, {"NAME", required_positional, "its new name"}};
constexpr argument permission_arguments[] = {
    group,
    {"TYPE", required_positional, "of the thing: server, project, instance, ..."},
    {"URL", required_positional, "of the thing: /1.0, /1.0/projects/p, '/1.0/instances/c1?project=p', ..."},
    {"ENTITLEMENT", required_positional, "what may be done; see `auth permission list`"},
};
constexpr argument permission_list_arguments[] = {
    {"--type", text, "on things of this type only", "server"},
    {"--project", text, "on things of this project only"},
};
constexpr argument identity_arguments[] = {identity};
constexpr argument identity_create_arguments[] = {
    identity,
    {"FILE", positional, "its certificate (PEM); without one a token is made that a client joins with"},
    {"--groups", text, "the groups it is in (comma-separated)"},
};
constexpr argument identity_group_arguments[] = {identity, group};
constexpr argument mapping_arguments[] = {provider_group};
constexpr argument mapping_group_arguments[] = {provider_group, group};

constexpr command table[] = {
    {"waitready", "Wait until the daemon answers", waitready_arguments, run_waitready},
    {"init", "Set up storage, network and the default profile", init_arguments, run_init},
    {"image build", "Build an image on this machine and import it", image_build_arguments, run_image_build},
    {"info", "Show the server's configuration and environment", {}, run_info},
    {"version", "Show the client's and the server's version", {}, run_version},
    {"query", "Send one request to the API", query_arguments, run_query},
    {"operation list", "List operations", operation_list_arguments, run_operation_list},
    {"operation show", "Show an operation and its steps", operation_arguments, run_operation_show},
    {"operation cancel", "Cancel an operation, and say what that will do", operation_arguments, run_operation_cancel},
    {"operation follow", "Show an operation's progress until it ends", operation_arguments, run_operation_follow},
    {"operation wait", "Wait for the end of an operation", operation_arguments, run_operation_wait},
    {"monitor", "Print events as they happen", monitor_arguments, run_monitor},
    {"history", "Show what happened to one thing", history_arguments, run_history},
    {"retention show", "Which scheduled snapshots the tiers keep, and which go", retention_show_arguments,
     run_retention_show},
    {"retention apply", "Delete the scheduled snapshots that no tier keeps", retention_apply_arguments,
     run_retention_apply},
    {"subscription list", "List the durable subscriptions of the event log", {}, run_subscription_list},
    {"subscription show", "Show a durable subscription", subscription_arguments, run_subscription_show},
    {"subscription delete", "Delete a durable subscription; its reader is ended", subscription_arguments,
     run_subscription_delete},
    {"bus call", "Call any method of the message bus", bus_call_arguments, run_bus_call},
    {"bus describe", "Show the interfaces of the message bus", bus_describe_arguments, run_bus_describe},
    {"config trust list", "List the clients that the server trusts", {}, run_trust_list},
    {"config trust add", "Trust a client: by its certificate, or by a token that it brings", trust_add_arguments,
     run_trust_add},
    {"config trust show", "Show a trusted certificate", certificate_arguments, run_trust_show},
    {"config trust edit", "Change a trusted certificate in an editor, or by YAML on stdin", certificate_arguments,
     run_trust_edit},
    {"config trust remove", "Trust a client no more; its connections are cut", certificate_arguments, run_trust_remove},
    {"config trust list-tokens", "List the tokens that nobody has used yet", {}, run_trust_list_tokens},
    {"config trust revoke-token", "Make a token useless", token_arguments, run_trust_revoke_token},
    {"auth group list", "List the groups that give rights", {}, run_group_list},
    {"auth group show", "Show a group, what it gives and who is in it", group_arguments, run_group_show},
    {"auth group create", "Make a group", group_create_arguments, run_group_create},
    {"auth group rename", "Give a group another name", group_rename_arguments, run_group_rename},
    {"auth group delete", "Delete a group; who was in it loses what it gave", group_arguments, run_group_delete},
    {"auth group permission add", "Have a group give a right", permission_arguments, run_group_permission_add},
    {"auth group permission remove", "Have a group give a right no more", permission_arguments,
     run_group_permission_remove},
    {"auth permission list", "List the rights that there are, and which groups give them", permission_list_arguments,
     run_permission_list},
    {"auth identity list", "List who is known", {}, run_identity_list},
    {"auth identity show", "Show an identity", identity_arguments, run_identity_show},
    {"auth identity create", "Make an identity: of a certificate, or of a token that a client brings",
     identity_create_arguments, run_identity_create},
    {"auth identity delete", "Delete an identity; its connections are cut", identity_arguments, run_identity_delete},
    {"auth identity group add", "Put an identity into a group", identity_group_arguments, run_identity_group_add},
    {"auth identity group remove", "Take an identity out of a group", identity_group_arguments,
     run_identity_group_remove},
    {"auth identity-provider-group list", "List how an identity provider's groups are mapped", {}, run_mapping_list},
    {"auth identity-provider-group create", "Begin to map a group of the identity provider", mapping_arguments,
     run_mapping_create},
    {"auth identity-provider-group delete", "End the mapping", mapping_arguments, run_mapping_delete},
    {"auth identity-provider-group group add", "Map it to one more group", mapping_group_arguments,
     run_mapping_group_add},
    {"auth identity-provider-group group remove", "Map it to a group no more", mapping_group_arguments,
     run_mapping_group_remove},
    {"audit", "Look for what makes this server less safe than it can be", audit_arguments, run_audit},
    {"sink list",
     "List where the server sends its events, how far it is behind, and what went wrong last",
     {},
     run_sink_list},
    {"sink show", "Show a sink and its state", sink_arguments, run_sink_show},
    {"sink create", "Send events to a file, a webhook or NATS from now on", sink_create_arguments, run_sink_create},
    {"sink set", "Change a sink; what is not named stays", sink_set_arguments, run_sink_set},
    {"sink delete", "Delete a sink", sink_arguments, run_sink_delete},
    {"sink dead-letters", "Show the events that a receiver refused, one JSON object per line", dead_letters_arguments,
     run_sink_dead_letters},
};

} // namespace

std::span<const command> commands() noexcept { return table; }

const std::string& invocation::text(std::string_view name) const {
  static const std::string none;
  auto at = values.find(name);
  return at == values.end() ? none : at->second;
}

outcome<long> invocation::number(std::string_view name, long fallback) const {
  const auto& typed = text(name);
  if (typed.empty()) return fallback;
  long value = 0;
  auto [end, problem] = std::from_chars(typed.data(), typed.data() + typed.size(), value);
  if (problem != std::errc{} || end != typed.data() + typed.size())
    return fail(fault::invalid, std::string{name} + " must be a whole number, not \"" + typed + "\"");
  return value;
}

} // namespace troupe
