#include "actors/instances.hpp"

#include "gateway/bus/check.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"
#include "gateway/rest/instance_view.hpp"

namespace troupe::on_bus {
namespace {

to_instance target(const call_ptr& c) { return {c->at.head->project, c->at.name()}; }

status_record status_in(const snapshot& records, std::string_view key) {
  return load<schema::InstanceStatus>(records, table::statuses, key).value_or(status_record{});
}

spec_record spec_of(const call_ptr& c, const snapshot& records) {
  auto spec = load<schema::InstanceSpec>(records, table::instances, c->at.key());
  if (!spec) refuse(fault::not_found, "Instance not found");
  return *spec;
}

void fill_view(bus::InstanceView::Builder out, const snapshot& records, schema::InstanceSpec::Reader spec) {
  copy_shown(spec, out.initSpec());
  status_in(records, in_project(view(spec.getProject()), view(spec.getName())))
      .read([&](schema::InstanceStatus::Reader status) {
        auto& words = words_of(status.getState());
        out.setStatus(std::string{words.word});
        out.setStatusCode(words.code);
        out.setLastUsedAt(status.getLastUsedAt());
      });
  auto effective = expand(records, spec);
  fill(out.initExpandedConfig(static_cast<unsigned>(effective.config.size())), effective.config);
  fill(out.initExpandedDevices(static_cast<unsigned>(effective.devices.size())), effective.devices);
}

// A request that its instance's actor receives as it came.
template <class Request>
kj::Promise<void> change(const call_ptr& c, const place& thing, const message<Request>& request) {
  return begin(c, thing, role::instances, target(c), envelope<Request>{request, c->at.head});
}

} // namespace

kj::Promise<void> list_instances(const call_ptr& c) {
  return reply_page<bus::Instances::ListResults, schema::InstanceSpec>(
      c, c->params<bus::Page>(), table::instances, c->at.head->project + "/", fill_view, visible_as(c, "instance"));
}

kj::Promise<void> list_all_instances(const call_ptr& c) {
  return reply_page<bus::Bus::AllInstancesResults, schema::InstanceSpec>(c, c->params<bus::Page>(), table::instances,
                                                                         "", fill_view, visible_to(c));
}

kj::Promise<void> create_instance(const call_ptr& c) {
  auto params = c->params<schema::CreateInstance>();
  if (auto project = view(params.getProject()); !project.empty() && project != c->at.head->project)
    refuse(fault::invalid, "The project is the handle's own");
  if (view(params.getSource().getType()) == "migration")
    refuse(fault::unsupported, "Migrations begin over REST only: their streams are websockets");
  return begin(c, c->at.below(text(params.getName())), role::instances,
               envelope<schema::CreateInstance>{copy_of<schema::CreateInstance>(params), c->at.head});
}

kj::Promise<void> change_all_instances(const call_ptr& c) {
  auto change = copy_of<schema::ChangeInstanceState>(c->params<schema::ChangeInstanceState>());
  bool start = change.read([](auto put) { return view(put.getAction()) == "start"; });
  auto records = c->with().db.read();
  kj::Vector<kj::Promise<operation_record>> asked;
  records.scan(table::instances, c->at.head->project + "/", [&](std::string_view key, std::string_view) {
    auto state = status_in(records, key).read([](auto s) { return s.getState(); });
    if ((state == instance_state::STOPPED) == start)
      asked.add(ask<operation_record>(c->at, role::instances,
                                      to_instance{c->at.head->project, std::string{key.substr(key.find('/') + 1)}},
                                      envelope<schema::ChangeInstanceState>{change, c->at.head}));
    return true;
  });
  return kj::joinPromises(asked.releaseAsArray()).then([c](kj::Array<operation_record>&& begun) {
    auto list = c->results<bus::Instances::ChangeAllResults>().initOperations(static_cast<unsigned>(begun.size()));
    for (unsigned i = 0; i < begun.size(); ++i) {
      auto where = c->at;
      where.names = {begun[i].read([](auto op) { return text(op.getId()); })};
      list.set(i, handle_of<bus::Operation>(where));
    }
  });
}

kj::Promise<void> view_instance(const call_ptr& c) {
  auto records = c->with().db.read();
  auto spec = spec_of(c, records);
  auto results = c->results<bus::InstanceView>();
  spec.read([&](auto s) { fill_view(results, records, s); });
  results.setEtag(etag_of(spec.bytes()));
  return kj::READY_NOW;
}

kj::Promise<void> measure_instance(const call_ptr& c) {
  return reply_from_blocking_thread(
      c, [&with = c->with(), key = c->at.key()]() -> outcome<message<schema::InstanceState>> {
        auto records = with.db.read();
        auto spec = load<schema::InstanceSpec>(records, table::instances, key);
        if (!spec) return fail(fault::not_found, "Instance not found");
        expander expand{records};
        return spec->read([&](auto s) { return measure_state(with, expand, s, status_in(records, key)); });
      });
}

kj::Promise<void> update_instance(const call_ptr& c) {
  return change(c, c->at, copy_of<schema::UpdateInstance>(c->params<schema::UpdateInstance>()));
}

kj::Promise<void> rename_instance(const call_ptr& c) {
  auto params = c->params<schema::RenameInstance>();
  if (auto project = view(params.getProject()); !project.empty() && project != c->at.head->project)
    refuse(fault::invalid, "The project is the handle's own");
  auto where = params.getName().size() ? c->at.beside(text(params.getName())) : c->at;
  return change(c, where, copy_of<schema::RenameInstance>(params));
}

kj::Promise<void> rebuild_instance(const call_ptr& c) {
  return change(c, c->at, copy_of<schema::RebuildInstance>(c->params<schema::RebuildInstance>()));
}

kj::Promise<void> delete_instance(const call_ptr& c) {
  return begin(c, std::nullopt, role::instances, target(c), troupe::delete_instance{c->at.head});
}

kj::Promise<void> change_instance_state(const call_ptr& c) {
  return change(c, c->at, copy_of<schema::ChangeInstanceState>(c->params<schema::ChangeInstanceState>()));
}

// The method's name is the action.
kj::Promise<void> power_instance(const call_ptr& c) {
  auto params = c->params<bus::Power>();
  auto request = message<schema::ChangeInstanceState>::make([&](schema::ChangeInstanceState::Builder put) {
    put.setAction(c->method.getProto().getName());
    put.setTimeout(params.getTimeout());
    put.setForce(params.getForce());
    put.setStateful(params.getStateful());
  });
  return change(c, c->at, request);
}

} // namespace troupe::on_bus
