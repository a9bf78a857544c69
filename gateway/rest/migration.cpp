#include "gateway/rest/migration.hpp"

#include "actors/instance_receive.hpp"
#include "actors/operation_record.hpp"
#include "gateway/migration/transfers.hpp"
#include "gateway/rest/live_streams.hpp"
#include "runtime/uuid.hpp"

#include <nlohmann/json.hpp>
#include <sys/utsname.h>

namespace troupe {
namespace {

using secret_map = std::map<std::string, std::string>;

constexpr std::chrono::seconds connect_time{10};

secret_map make_secrets() { return {{"control", random_hex(32)}, {"fs", random_hex(32)}}; }

/// Whom we connect to, as a client names it.
outcome<transfer_link::remote> remote_of(std::string_view operation, std::string_view certificate,
                                         const config_map& secrets) {
  auto where = read_remote(operation, certificate);
  if (!where) return tl::unexpected{where.error()};
  transfer_link::remote out{std::move(*where), std::string{get(secrets, "control")}, std::string{get(secrets, "fs")}};
  if (out.control.empty() || out.data.empty())
    return fail(fault::invalid, "The secrets of the streams \"control\" and \"fs\" are missing");
  return out;
}

/// The link, known to who watches over trust; with secrets, for who connects to us.
void open_streams(const rest_request& from, const std::string& operation, const std::shared_ptr<transfer_link>& link,
                  const secret_map& secrets) {
  auto required = secrets.empty() ? std::vector<std::string>{} : std::vector<std::string>{"control", "fs"};
  from.context.streams.open(operation, from.head->who.username, secrets, required, link, connect_time);
  link->on_end([&context = from.context, operation] {
    context.streams.close(operation);
    context.moves.forget(operation);
  });
}

std::string shown(const secret_map& secrets) { return secrets.empty() ? "" : nlohmann::json(secrets).dump(); }

// LXD's number of this host's architecture.
int architecture_number() {
  utsname host{};
  uname(&host);
  std::string_view name{host.machine};
  return name == "x86_64" ? 2 : name == "aarch64" ? 4 : 0;
}

offered_snapshot offer_of(schema::SnapshotSpec::Reader is) {
  return {text(is.getName()), to_map(is.getConfig()), to_map(is.getDevices()), to_vector(is.getProfiles()),
          is.getEphemeral(),  is.getStateful(),       architecture_number(),   is.getCreatedAt(),
          is.getLastUsedAt(), is.getExpiresAt()};
}

struct request {
  bool live = false, with_snapshots = false, may_change = false;
  std::string snapshot; // empty: the instance itself
  std::optional<transfer_link::remote> to;
};

template <class Post>
outcome<std::optional<transfer_link::remote>> target_of(Post post) {
  if (!post.hasTarget()) return std::nullopt;
  auto target = post.getTarget();
  auto to = remote_of(view(target.getOperation()), view(target.getCertificate()), to_map(target.getSecrets()));
  if (!to) return tl::unexpected{to.error()};
  return std::optional{std::move(*to)};
}

outcome<outgoing> gather(const rest_request& from, const request& what) {
  auto records = from.with().db.read();
  auto& name = from.parameter(0);
  auto key = in_project(from.head->project, name);
  auto spec = load<schema::InstanceSpec>(records, table::instances, key);
  if (!spec) return fail(fault::not_found, "Instance not found");
  if (type_of(records, from.head->project, name) != schema::InstanceType::CONTAINER)
    return fail(fault::unsupported, "Virtual machines cannot move to other servers yet");
  auto status = load<schema::InstanceStatus>(records, table::statuses, key);
  bool runs = status && status->read([](auto s) { return s.getState() != schema::InstanceStatus::State::STOPPED; });
  if (what.live && runs && what.snapshot.empty())
    return fail(fault::unsupported,
                "Live migration of containers is not supported; stop the instance, or use --stateless");
  outgoing out;
  out.name = name;
  out.may_change = what.may_change || runs;
  auto pool = spec->read([](auto s) { return text(s.getPool()); });
  out.volume = volume_named(instance_key(from.head->project, name));
  if (what.snapshot.empty()) {
    if (what.with_snapshots)
      for (auto& each : snapshots_of(records, from.head->project, name))
        out.snapshots.emplace_back(each.read(offer_of), volume_named(volume_of(each)));
  } else {
    auto taken =
        load<schema::SnapshotSpec>(records, table::snapshots, snapshot_key(from.head->project, name, what.snapshot));
    if (!taken) return fail(fault::not_found, "Snapshot not found");
    out.volume = volume_named(volume_of(*taken));
    pool = taken->read([](auto s) { return text(s.getPool()); });
  }
  auto driver = driver_of_pool(from.with(), pool);
  if (!driver) return tl::unexpected{driver.error()};
  out.driver = std::move(*driver);
  return out;
}

begin_live operation_of(const rest_request& from, const request& what) {
  auto& name = from.parameter(0);
  begin_live live;
  live.type = what.to ? schema::Operation::Class::TASK : schema::Operation::Class::WEBSOCKET;
  live.owner = from.with().find(role::doors); // which ends it when it is cancelled
  live.kind = what.snapshot.empty() ? "instance.migrate" : "snapshot.transfer";
  live.description = what.snapshot.empty() ? "Migrating instance" : "Transferring snapshot";
  live.entity = "instance/" + in_project(from.head->project, name);
  live.head = from.head;
  live.resources = resources_of(schema::InstanceType::CONTAINER, from.head->project, name);
  return live;
}

void send(const rest_request& from, request what) {
  auto out = gather(from, what);
  if (!out) return reply_error(from, out.error());
  auto live = operation_of(from, what);
  auto begun = [from, to = what.to,
                out = std::make_shared<outgoing>(std::move(*out))](const outcome<operation_record>& record) {
    if (!record) return reply_error(from, record.error());
    auto id = id_of(*record);
    auto secrets = to ? secret_map{} : make_secrets();
    auto link = std::make_shared<transfer_link>(to);
    open_streams(from, id, link, secrets);
    from.context.moves.send(id, link, std::move(*out));
    reply_operation(from, *record, shown(secrets));
  };
  ask<operation_record>(from, role::operations, begun, std::move(live));
}

} // namespace

bool asks_to_send(schema::RenameInstance::Reader post) {
  return post.hasTarget() || (post.getMigration() && post.getPool().size() == 0 && post.getProject().size() == 0 &&
                              post.getName().size() == 0);
}

void send_migration(const rest_request& from, schema::RenameInstance::Reader post) {
  auto to = target_of(post);
  if (!to) return reply_error(from, to.error());
  send(from, {post.getLive(), !post.getInstanceOnly() && !post.getContainerOnly(), post.getAllowInconsistent(), "",
              std::move(*to)});
}

void send_migration(const rest_request& from, schema::SnapshotPost::Reader post) {
  auto to = target_of(post);
  if (!to) return reply_error(from, to.error());
  send(from, {post.getLive(), false, false, from.parameter(1), std::move(*to)});
}

void receive_migration(const rest_request& from, const message<schema::CreateInstance>& body) {
  auto to = body.read([](schema::CreateInstance::Reader post) -> outcome<std::optional<transfer_link::remote>> {
    auto source = post.getSource();
    if (auto good = check_migration(source); !good) return tl::unexpected{good.error()};
    if (view(source.getMode()) == "push") return std::nullopt;
    auto found = remote_of(view(source.getOperation()), view(source.getCertificate()), to_map(source.getSecrets()));
    if (!found) return tl::unexpected{found.error()};
    return std::optional{std::move(*found)};
  });
  if (!to) return reply_error(from, to.error());
  auto begun = [from, to = *to](const outcome<operation_record>& record) {
    if (!record) return reply_error(from, record.error());
    auto id = id_of(*record);
    auto link = std::make_shared<transfer_link>(to);
    if (!from.context.moves.offer(id, link)) return reply_operation(from, *record); // a repeated request
    auto secrets = to ? secret_map{} : make_secrets();
    open_streams(from, id, link, secrets);
    reply_operation(from, *record, shown(secrets));
  };
  // What is in it for us only stays with us: records, plans and history show no secrets.
  ask_operation(from, role::instances, caf::make_message(envelope<schema::CreateInstance>{body, from.head}), begun);
}

} // namespace troupe
