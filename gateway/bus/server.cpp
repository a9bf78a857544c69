#include "actors/profiles.hpp"
#include "actors/server_keys.hpp"
#include "gateway/bus/check.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"
#include "gateway/server_facts.hpp"
#include "messages/json_read.hpp"

#include <capnp/schema-loader.h>

namespace troupe::on_bus {
namespace {

std::string etag_of_config(const config_map& config) { return etag_of(nlohmann::json(config).dump()); }

// Of a thing; the others (Process, ByteStream, ...) are classes of their own and serve all they have.
bool is_handle(capnp::InterfaceSchema type) { return type.getSuperclasses().size() > 0; }

} // namespace

kj::Promise<void> view_server(const call_ptr& c) {
  bool all = c->at.of->who.may("can_edit", the_server());
  auto config = all ? shown_server_config(c->with().db.read()) : config_map{};
  auto shown =
      value_of(parse_json_text(server_json(c->with(), config, announced_by(c->at.of->listeners, c->with().db.read()))));
  auto results = c->results<bus::Bus::ServerResults>();
  value_of(read_json(shown, results.initServer()));
  results.setEtag(etag_of_config(config));
  return kj::READY_NOW;
}

kj::Promise<void> update_server(const call_ptr& c) {
  auto params = c->params<bus::Bus::UpdateServerParams>();
  auto etag = text(params.getGuard().getEtag());
  if (!etag.empty() && etag != etag_of_config(shown_server_config(c->with().db.read())))
    refuse(fault::precondition, "The configuration was changed in the meantime (ETag does not match)");
  return begin(
      c, std::nullopt, role::server,
      change_server_config{c->at.head, to_map(params.getConfig()), params.getGuard().getPatch(), std::move(etag)});
}

kj::Promise<void> view_resources(const call_ptr& c) {
  using results = bus::Bus::ResourcesResults;
  return reply_from_blocking_thread(c, []() -> outcome<message<results>> {
    return message<results>::make([](results::Builder out) { out.setJson(resources_json()); });
  });
}

kj::Promise<void> list_sessions(const call_ptr& c) {
  auto& all = c->at.of->all;
  auto items = c->results<bus::Bus::SessionsResults>().initItems(static_cast<unsigned>(all.size()));
  unsigned i = 0;
  for (auto* each : all) {
    auto item = items[i++];
    item.setUser(each->who.username);
    item.setHandles(static_cast<uint32_t>(each->handles));
    item.setAtWork(static_cast<uint32_t>(each->at_work));
    item.setMostAtWork(static_cast<uint32_t>(each->most_at_work));
  }
  return kj::READY_NOW;
}

// The schema itself, for clients that were built without it: SchemaLoader takes the nodes as they are.
kj::Promise<void> describe(const call_ptr& c) {
  auto results = c->results<bus::Bus::DescribeResults>();
  auto& types = interfaces();
  auto views = results.initInterfaces(static_cast<unsigned>(types.size()));
  for (unsigned i = 0; i < types.size(); ++i) {
    views[i].setName(short_name(types[i]));
    views[i].setId(types[i].getProto().getId());
    auto methods = types[i].getMethods();
    auto list = views[i].initMethods(methods.size());
    for (unsigned m = 0; m < methods.size(); ++m) {
      list[m].setName(methods[m].getProto().getName());
      list[m].setOrdinal(methods[m].getOrdinal());
      auto& facts = *find_method(types[i].getProto().getId(), methods[m].getOrdinal());
      list[m].setReads(facts.reads);
      list[m].setServed(facts.run || !is_handle(types[i]));
      list[m].setParams(short_name(methods[m].getParamType()));
      list[m].setResults(short_name(methods[m].getResultType()));
    }
  }
  capnp::SchemaLoader loader;
  loader.loadCompiledTypeAndDependencies<bus::Bus>();
  auto all = loader.getAllLoaded();
  auto nodes = results.initNodes(static_cast<unsigned>(all.size()));
  for (unsigned i = 0; i < all.size(); ++i) nodes.setWithCaveats(i, all[i].getProto());
  return kj::READY_NOW;
}

} // namespace troupe::on_bus
