#include "actors/device_options.hpp"

#include "actors/found_devices.hpp"
#include "actors/names.hpp"
#include "net/cidr.hpp"
#include "net/names.hpp"
#include "net/proxy_address.hpp"

#include <algorithm>
#include <sys/socket.h>

namespace troupe {
namespace {

struct judged {
  const std::string& name;
  const config_map& device;

  std::string_view get(std::string_view option) const { return troupe::get(device, option); }
  bool has(std::string_view option) const { return !get(option).empty(); }
  bool is(std::string_view option) const { return is_true(option_of(device, option)); }
  tl::unexpected<error> bad(std::string what) const {
    return fail(fault::invalid, "Device \"" + name + "\": " + std::move(what));
  }
  tl::unexpected<error> later(std::string what) const {
    return fail(fault::unsupported, "Device \"" + name + "\": " + std::move(what));
  }
};

outcome<void> check_root_disk(const judged& it) {
  if (!it.has("pool")) return it.bad("the root disk needs a pool");
  for (auto option : {"source", "readonly", "recursive", "shift", "propagation", "required"})
    if (it.has(option)) return it.later("the root disk has no option \"" + std::string{option} + '"');
  return {};
}

outcome<void> check_volume_disk(const judged& it) {
  if (auto good = check_plain_name("Storage volume", it.get("source")); !good) return it.bad(good.error().message);
  for (auto option : {"size", "shift", "recursive"})
    if (it.has(option)) return it.bad("a volume of a pool has no option \"" + std::string{option} + '"');
  return {};
}

outcome<void> check_disk(const judged& it) {
  auto path = it.get("path");
  if (path == "/") return check_root_disk(it);
  if (!path.empty() && path.find_first_not_of("/.") == path.npos) return it.bad("the path of a root disk is \"/\"");
  auto source = it.get("source");
  if (it.has("pool")) return check_volume_disk(it);
  if (source.empty()) return it.bad("a disk needs a \"source\"");
  for (auto remote : {"ceph:", "cephfs:", "cloud-init:"})
    if (source.starts_with(remote)) return it.later("source \"" + std::string{remote} + "\" is not supported");
  bool tmpfs = source == "tmpfs:";
  if (!tmpfs && !is_well_formed(value_type::path, source))
    return it.bad("\"source\" must be an absolute path without \"..\", or tmpfs:");
  if (!tmpfs && it.has("size")) return it.bad("only a tmpfs has a \"size\"");
  for (auto option : {"shift", "recursive", "limits.read", "limits.write", "limits.max"})
    if (tmpfs && it.has(option)) return it.bad("a tmpfs has no option \"" + std::string{option} + '"');
  return {};
}

// What an ipvlan card's gateways and addresses may be depends on its mode.
outcome<void> check_ipvlan(const judged& it) {
  bool layer2 = option_of(it.device, "mode") == "l2";
  if (!layer2 && !it.has("ipv4.address") && !it.has("ipv6.address"))
    return it.bad("an ipvlan nic needs \"ipv4.address\" or \"ipv6.address\", or mode l2");
  for (auto [family, number] : {std::pair{"ipv4", AF_INET}, {"ipv6", AF_INET6}}) {
    auto option = std::string{family} + ".gateway", gateway = std::string{it.get(option)};
    if (gateway.empty() || gateway == "none") continue;
    if (layer2 ? !parse_ip(gateway, number) : gateway != "auto")
      return it.bad('"' + option + (layer2 ? "\" takes an address" : "\" takes auto or none"));
    if (!it.has(std::string{family} + ".address")) return it.bad('"' + option + "\" needs an address of that kind");
  }
  for (auto option : {"ipv4.address", "ipv6.address"})
    if (!layer2 && it.get(option).find('/') != std::string_view::npos)
      return it.bad(std::string{"\""} + option + "\" takes addresses without a prefix length, unless mode is l2");
  return {};
}

outcome<void> check_vlan(const judged& it) {
  auto vlan = it.get("vlan");
  if (it.is("gvrp") && vlan.empty()) return it.bad("\"gvrp\" needs \"vlan\"");
  if (vlan.empty()) return {};
  if (it.has("network") || it.get("nictype") == "bridged") {
    if (vlan == "none" || is_well_formed(value_type::vlan, vlan)) return {};
    return it.bad("\"vlan\" takes a number from 1 to 4094, or none");
  }
  auto name = std::string{it.get("parent")} + "." + std::string{vlan};
  if (!it.has("parent")) return it.bad("\"vlan\" needs a \"parent\"");
  if (!is_interface_name(name)) return it.bad("the VLAN's link would be " + name + ", which is too long for a name");
  return {};
}

outcome<void> check_nic(const judged& it) {
  bool managed = it.has("network");
  if (managed && (it.has("nictype") || it.has("parent")))
    return it.bad("\"network\" excludes \"nictype\" and \"parent\"");
  if (!managed && it.get("nictype") == "bridged" && !it.has("parent")) return it.bad("\"parent\" must name a bridge");
  if (it.get("nictype") == "routed" && !it.has("ipv4.address") && !it.has("ipv6.address"))
    return it.bad("a routed nic needs \"ipv4.address\" or \"ipv6.address\"");
  for (auto option : {"limits.ingress", "limits.egress"})
    if (it.has(option) && it.has("limits.max")) return it.bad("\"limits.max\" excludes \"" + std::string{option} + '"');
  if (it.get("nictype") == "ipvlan")
    if (auto good = check_ipvlan(it); !good) return good;
  return check_vlan(it);
}

outcome<void> check_node(const judged& it) {
  if (!it.has("path") && !it.has("source")) return it.bad("it needs a \"path\" or a \"source\"");
  if (it.has("major") != it.has("minor")) return it.bad("\"major\" and \"minor\" go together");
  for (auto option : {"major", "minor"})
    if (it.get(option).size() > 6) return it.bad("\"" + std::string{option} + "\" is no device number");
  return {};
}

outcome<void> check_nat(const judged& it, const proxy_address& listen, const proxy_address& connect) {
  if (it.get("bind") == "guest" || it.get("bind") == "instance") return it.bad("\"nat\" needs \"bind\" host");
  if (listen.is_unix() || listen.what != connect.what) return it.bad("\"nat\" needs the same protocol on both sides");
  if (it.is("proxy_protocol")) return it.bad("\"nat\" excludes \"proxy_protocol\"");
  return {};
}

outcome<void> check_proxy(const judged& it) {
  auto listen = parse_endpoint(it.get("listen")), connect = parse_endpoint(it.get("connect"));
  if (!listen || !connect) return it.bad("\"listen\" and \"connect\" must be addresses");
  auto count = connect->ports.size();
  if (!connect->is_unix() && count > 1 && count != listen->ports.size())
    return it.bad("\"connect\" needs one port, or as many as \"listen\"");
  bool udp = listen->what == proxy_address::kind::udp;
  if (udp != (connect->what == proxy_address::kind::udp)) return it.bad("udp is passed on to udp only");
  if (it.is("proxy_protocol") && connect->what != proxy_address::kind::tcp)
    return it.bad("\"proxy_protocol\" needs a tcp address in \"connect\"");
  for (auto option : {"uid", "gid", "mode"})
    if (it.has(option) && listen->what != proxy_address::kind::unix_path)
      return it.bad("\"" + std::string{option} + "\" is for a unix socket in \"listen\"");
  return it.is("nat") ? check_nat(it, *listen, *connect) : outcome<void>{};
}

outcome<void> check_combination(const judged& it, std::string_view kind) {
  if (kind == "disk") return check_disk(it);
  if (kind.starts_with("nic-")) return check_nic(it);
  if (kind == "unix-char" || kind == "unix-block") return check_node(it);
  if (kind == "proxy") return check_proxy(it);
  if (auto problem = fault_of_found(kind, it.device); !problem.empty()) return it.bad(problem);
  return {};
}

outcome<void> check_options(const judged& it, std::string_view kind) {
  for (auto& [key, value] : it.device) {
    if (key == "type" || key.starts_with("user.")) continue;
    auto row = find_option(kind, key);
    if (!row) return it.bad("a " + std::string{kind} + " has no option \"" + key + '"');
    if (value.empty()) continue;
    if (!row->refused.empty()) return it.later("option \"" + key + "\" is not supported: " + std::string{row->refused});
    if (auto good = check_value(key, value, row->form, row->choices); !good) return it.bad(good.error().message);
  }
  for (auto& row : device_options())
    if (row.required && has_word(row.kinds, kind) && !it.has(row.option))
      return it.bad("\"" + std::string{row.option} + "\" is required");
  return {};
}

outcome<void> check_device(const judged& it) {
  auto type = it.get("type");
  auto kind = kind_of(it.device);
  if (!kind && type == "nic" && !it.has("nictype")) return it.bad("a nic needs \"network\" or \"nictype\"");
  if (!kind && type == "nic") return it.bad("unknown nictype \"" + std::string{it.get("nictype")} + '"');
  if (!kind) return it.bad(type.empty() ? "the type is missing" : "unknown type \"" + std::string{type} + "\"");
  if (!kind->refused.empty())
    return it.later(std::string{kind->kind} + " is not supported: " + std::string{kind->refused});
  if (kind->kind == "none") return {};
  if (auto good = check_options(it, kind->kind); !good) return good;
  return check_combination(it, kind->kind);
}

} // namespace

const device_kind* kind_of(const config_map& device) {
  std::string kind{get(device, "type")};
  if (kind == "nic") kind += "-" + std::string{get(device, "network").empty() ? get(device, "nictype") : "bridged"};
  for (auto& row : device_kinds())
    if (row.kind == kind) return &row;
  return nullptr;
}

const device_option* find_option(std::string_view kind, std::string_view option) {
  for (auto& row : device_options()) {
    bool family = row.option.ends_with(".*") && option.starts_with(row.option.substr(0, row.option.size() - 1));
    if ((row.option == option || family) && has_word(row.kinds, kind)) return &row;
  }
  return nullptr;
}

std::string_view option_of(const config_map& device, std::string_view option) {
  if (auto set = get(device, option); !set.empty()) return set;
  auto kind = kind_of(device);
  auto row = kind ? find_option(kind->kind, option) : nullptr;
  return row ? row->fallback : std::string_view{};
}

outcome<void> check_devices(const device_map& devices) {
  for (auto& [name, device] : devices) {
    if (auto good = check_plain_name("Device", name); !good) return good;
    for (auto& [key, value] : device) {
      if (auto good = check_key(key); !good) return good;
      if (auto good = check_text(name + "." + key, value); !good) return good;
    }
    if (auto good = check_device({name, device}); !good) return good;
  }
  return {};
}

device_change compare_device(const config_map& before, const config_map& after) {
  auto kind = kind_of(before), later = kind_of(after);
  if (before == after) return device_change::none;
  if (!kind || kind != later || get(before, "network") != get(after, "network")) return device_change::replug;
  auto change = device_change::none;
  auto look = [&](const config_map& one, const config_map& other) {
    for (auto& [key, value] : one) {
      auto row = find_option(kind->kind, key);
      if (value == get(other, key) || !row) continue;
      bool root_size = key == "size" && get(before, "path") == "/";
      change = std::max(change,
                        row->when == applies::at_once || root_size ? device_change::in_place : device_change::replug);
    }
  };
  look(before, after);
  look(after, before);
  return change;
}

outcome<void> check_live_devices(const device_map& before, const device_map& after) {
  for (auto& [name, device] : before) {
    if (get(device, "type") != "disk" || get(device, "path") != "/") continue;
    auto at = after.find(name);
    if (at == after.end() || compare_device(device, at->second) == device_change::replug)
      return fail(fault::wrong_state, "The root disk cannot be changed while the instance is running; stop it first");
  }
  return {};
}

} // namespace troupe
