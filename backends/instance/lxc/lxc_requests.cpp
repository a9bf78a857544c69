#include "backends/instance/lxc/lxc_requests.hpp"

#include "backends/instance/file_job.hpp"

namespace troupe::lxc {
namespace {

template <class Fill>
job_request make(const job_address& job, Fill&& fill_body) {
  return job_request::make([&](schema::HelperJob::Builder request) {
    request.setKey(job.key);
    request.setLxcpath(job.lxcpath);
    request.setStage(job.stage);
    request.setSeconds(job.seconds);
    fill_body(request);
  });
}

void fill_root(schema::RootView::Builder to, const root_mount& root, const id_range& ids) {
  to.setPath(root.path);
  to.setLower(root.lower);
  to.setUpper(root.upper);
  to.setWork(root.work);
  to.setShifted(root.shifted_on_disk);
  to.setHostId(ids.host);
  to.setIdCount(ids.size);
}

template <class Fill>
job_request make_file(const job_address& job, const file_root& root, const std::string& path, Fill&& fill_body) {
  return make(job, [&](auto request) {
    auto file = request.initFile();
    file.setLeader(root.leader);
    fill_root(file.initRoot(), root.root, root.ids);
    file.setPath(path);
    fill_body(file);
  });
}

capnp::Data::Reader as_data(const std::string& text) {
  return {reinterpret_cast<const kj::byte*>(text.data()), text.size()};
}

void fill_mount(schema::MountView::Builder to, const mount_plan& mount) {
  to.setSource(mount.source);
  to.setBeneath(mount.beneath);
  to.setPath(mount.path);
  to.setOptions(mount.options);
  to.setPropagation(mount.propagation);
  to.setReadonly(mount.readonly);
  to.setRecursive(mount.recursive);
  to.setShift(mount.shift);
  to.setRequired(mount.required);
}

void fill_node(schema::NodeView::Builder to, const node_plan& node) {
  to.setPath(node.path);
  to.setType(static_cast<uint8_t>(node.type));
  to.setMajor(node.major);
  to.setMinor(node.minor);
  to.setMode(node.mode);
  to.setUid(node.uid);
  to.setGid(node.gid);
}

template <class Fill>
job_request make_plug(const job_address& job, const live_instance& to, bool remove, Fill&& fill_body) {
  return make(job, [&](auto request) {
    auto plug = request.initPlug();
    plug.setLeader(to.leader);
    plug.setHostId(to.ids.host);
    plug.setIdCount(to.ids.size);
    plug.setRemove(remove);
    fill_body(plug);
  });
}

} // namespace

job_request plug_request(const job_address& job, const live_instance& to, const mount_plan& mount, bool remove) {
  return make_plug(job, to, remove, [&](auto plug) { fill_mount(plug.initMount(), mount); });
}
job_request plug_request(const job_address& job, const live_instance& to, const node_plan& node, bool remove) {
  return make_plug(job, to, remove, [&](auto plug) { fill_node(plug.initNode(), node); });
}
job_request rule_request(const job_address& job, const std::string& rule, bool allow) {
  return make(job, [&](auto request) {
    auto body = request.initDeviceRule();
    body.setAllow(allow);
    body.setRule(rule);
  });
}

job_request start_request(const job_address& job, const boot_plan& plan, const id_maps& maps, const settings& config,
                          const std::string& cgroup_prefix) {
  return make(job, [&](auto request) {
    auto start = request.initStart();
    auto root = start.initRoot();
    fill_root(root, plan.root, plan.ids);
    root.setUidMap(maps.uids);
    root.setGidMap(maps.gids);
    auto items = start.initSettings(static_cast<unsigned>(config.size()));
    for (unsigned i = 0; i < config.size(); ++i) {
      items[i].setKey(config[i].first);
      items[i].setValue(config[i].second);
    }
    auto files = start.initFiles(static_cast<unsigned>(plan.files.size()));
    for (unsigned i = 0; i < plan.files.size(); ++i) {
      files[i].setPath(plan.files[i].path);
      files[i].setContent(as_data(plan.files[i].content));
      files[i].setCreateOnly(plan.files[i].create_only);
    }
    auto mounts = start.initMounts(static_cast<unsigned>(plan.mounts.size()));
    for (unsigned i = 0; i < plan.mounts.size(); ++i) fill_mount(mounts[i], plan.mounts[i]);
    auto nodes = start.initNodes(static_cast<unsigned>(plan.nodes.size()));
    for (unsigned i = 0; i < plan.nodes.size(); ++i) fill_node(nodes[i], plan.nodes[i]);
    start.setLogFile(plan.log_dir + "/lxc.log");
    start.setPrefix(cgroup_prefix);
  });
}

job_request find_request(const job_address& job) {
  return make(job, [](auto request) { request.setFind(); });
}
job_request await_reboot_request(const job_address& job) {
  return make(job, [](auto request) { request.setAwaitReboot(); });
}
job_request freeze_request(const job_address& job, bool freeze) {
  return make(job, [&](auto request) {
    if (freeze)
      request.setFreeze();
    else
      request.setUnfreeze();
  });
}
job_request console_request(const job_address& job, bool clear) {
  return make(job, [&](auto request) { request.setConsoleLog(clear); });
}

job_request attach_request(const job_address& job, uint16_t width, uint16_t height) {
  return make(job, [&](auto request) {
    auto console = request.initConsole();
    console.setWidth(width);
    console.setHeight(height);
  });
}

job_request exec_request(const job_address& job, const exec_plan& plan) {
  return make(job, [&](auto request) {
    auto exec = request.initExec();
    fill(exec.initCommand(static_cast<unsigned>(plan.command.size())), plan.command);
    fill(exec.initEnvironment(static_cast<unsigned>(plan.environment.size())), plan.environment);
    exec.setUid(plan.uid);
    exec.setGid(plan.gid);
    exec.setCwd(plan.cwd);
    exec.setInteractive(plan.interactive);
    exec.setWidth(plan.width);
    exec.setHeight(plan.height);
    if (plan.operation.empty()) return;
    exec.setOperation(plan.operation);
    exec.setNote(capnp::Data::Reader{reinterpret_cast<const kj::byte*>(plan.note.data()), plan.note.size()});
    exec.setRecord(plan.record);
    exec.setUnattended(plan.unattended);
    for (unsigned i = 0; i < 3; ++i)
      if (plan.ends[i]) exec.setEnds(static_cast<uint8_t>(exec.getEnds() | 1 << i));
  });
}

job_request read_request(const job_address& job, const file_root& root, const std::string& path) {
  return make_file(job, root, path, [](auto file) { file.setRead(); });
}
job_request remove_request(const job_address& job, const file_root& root, const std::string& path) {
  return make_file(job, root, path, [](auto file) { file.setRemove(); });
}
job_request sftp_request(const job_address& job, const file_root& root) {
  return make_file(job, root, "/", [](auto file) { file.setSftp(); });
}
job_request write_request(const job_address& job, const file_root& root, const std::string& path,
                          const file_write& how) {
  return make_file(job, root, path, [&](auto file) { fill_write(file.initWrite(), how); });
}

outcome<std::optional<instance_found>> read_found(const job_reply& reply) {
  return reply.answer.read([](auto a) -> outcome<std::optional<instance_found>> {
    if (!a.isFound()) return fail(fault::internal, "The lxc helper gave a wrong answer");
    auto f = a.getFound();
    if (f.getLeader() <= 0) return std::nullopt;
    return instance_found{f.getLeader(), f.getMonitor(), f.getMonitorStart(), false};
  });
}

outcome<std::string> read_log(const job_reply& reply) {
  return reply.answer.read([](auto a) -> outcome<std::string> {
    if (!a.isLog()) return fail(fault::internal, "The lxc helper gave a wrong answer");
    auto data = a.getLog();
    return std::string{reinterpret_cast<const char*>(data.begin()), data.size()};
  });
}

} // namespace troupe::lxc
