"""Devices: what is known of each, and whether it can be measured now."""

from __future__ import annotations

from fastapi import APIRouter

from nas.api import problems
from nas.api.context import ContextDep
from nas.api.models import DeviceDetail, DeviceRow, Devices

router = APIRouter(tags=["devices"])


@router.get("/devices", summary="All devices")
def list_devices(context: ContextDep) -> Devices:
    """This machine, those that were measured, and those of the catalogue."""
    return Devices(devices=[DeviceRow(**row) for row in context.service.device_rows()])


@router.get("/devices/{name}", summary="One device", responses=problems.responses(404, 422))
def show_device(name: str, context: ContextDep) -> DeviceDetail:
    """Facts of the device, and how much was measured on it; `local` is the server's machine."""
    service = context.service
    device = service.device(name)
    reaches = {row["device"]: row["reach"] for row in service.device_rows()}
    return DeviceDetail(
        device=device.name, reach=reaches.get(device.name, "none"), facts=dict(device.facts),
        measured=service.measured_on(name),
    )  # fmt: skip
